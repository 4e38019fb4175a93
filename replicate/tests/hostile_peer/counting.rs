//! Counts the memory a test takes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Bytes this thread has allocated and not freed.
pub(super) fn held() -> isize {
    HELD.with(Cell::get)
}

/// Counts what each thread, hence each test, allocates and frees.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
}

// Counting needs an allocator, and those are unsafe by nature; this one leaves all to the system's.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.with(|held| held.set(held.get() + layout.size() as isize));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.with(|held| held.set(held.get() - layout.size() as isize));
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
