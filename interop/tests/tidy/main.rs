//! Holds the repository to its own rules: doors between rooms, sizes, headers, lints. Reads files, runs nothing.
//!
//! Each rule is a function from text to complaints, so that it is shown to fail on text that breaks it before it is
//! asked about the repository. `cargo test -p anypath-interop --test tidy` runs it alone.

mod doors;
mod house;
mod repository;
mod source;

use repository::{File, repository};

/// Fails with every complaint at once, each a line that names its place.
#[track_caller]
fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn no_room_opens_a_door_it_must_not() {
    none(rooms().flat_map(|(room, manifest)| doors::complaints(&room, manifest)).collect());
}

#[test]
fn every_room_is_a_member_has_its_bans_and_takes_the_workspace_lints() {
    let members = house::members(text("Cargo.toml"));
    assert!(members.len() >= 7, "the members are read wrongly: {members:?}");
    let found: Vec<_> = rooms().map(|(room, _)| room).collect();
    let mut complaints: Vec<_> =
        found.iter().filter(|room| !members.contains(room)).map(|room| format!("{room}: no member")).collect();
    for room in members {
        complaints.extend(house::manifest(&room, text(&format!("{room}/Cargo.toml"))));
        complaints.extend(house::bans(&room, text(&format!("{room}/clippy.toml"))));
    }
    none(complaints);
}

#[test]
fn the_workspace_keeps_what_the_rooms_count_on() {
    none(house::workspace(text("Cargo.toml")));
}

#[test]
fn no_banned_crate_comes_in_through_another() {
    let text = text("Cargo.lock");
    assert!(text.contains("name = \"anypath-wire\""), "the lock file is read wrongly");
    none(house::lock(text));
}

#[test]
fn source_files_keep_their_habits() {
    let sources: Vec<_> = repository().iter().filter(|file| file.is_rust()).collect();
    assert!(sources.len() > 20, "the repository is read wrongly: {} source files", sources.len());
    none(sources.iter().flat_map(|file| source::complaints(&file.path, &file.text)).collect());
}

#[test]
fn exceptions_that_are_no_longer_needed_are_gone() {
    none(source::stale_exceptions(|path| repository().iter().find(|file| file.path == path).map(|file| &*file.text)));
}

#[test]
fn no_file_names_a_place_of_one_machine() {
    none(repository().iter().flat_map(|file| source::machine_paths(&file.path, &file.text)).collect());
}

#[test]
fn no_merge_is_left_undecided() {
    none(repository().iter().flat_map(|file| source::undecided(&file.path, &file.text)).collect());
}

/// Returns the rooms and their manifests. What stands outside the workspace is no room.
fn rooms() -> impl Iterator<Item = (String, &'static str)> {
    let excluded = house::excluded(text("Cargo.toml"));
    let manifest = move |file: &'static File| {
        let room = file.path.strip_suffix("/Cargo.toml")?;
        (!excluded.iter().any(|outside| outside == room)).then(|| (room.to_owned(), &*file.text))
    };
    repository().iter().filter_map(manifest)
}

/// Returns a file's text, or nothing when it is missing, which no rule is content with.
fn text(path: &str) -> &'static str {
    repository().iter().find(|file| file.path == path).map_or("", |file| &file.text)
}
