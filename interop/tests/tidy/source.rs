//! The habits of a source file: a header, small sizes, nothing unfinished, no place of one machine.

/// How long a file may be, in lines, its unit tests not counted.
const FILE_LINES_MAX: usize = 600;
/// How long a function may be, in lines, from `fn` to the closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Stands in a comment directly above a function that may be longer, before the reason.
const LONG_BECAUSE: &str = "// tidy: long because ";
/// Files that may be longer, with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Returns what is wrong with a source file.
pub(crate) fn complaints(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if !text.lines().next().is_some_and(|line| line.starts_with("//! ") && line.len() > 10) {
        complaints.push(format!("{path}:1: the first line says what the file is for (//! …)"));
    }
    let length = lines_without_tests(text);
    if length > FILE_LINES_MAX && !LONG_FILES.iter().any(|(long, _)| *long == path) {
        complaints.push(format!("{path}: {length} lines without tests, more than {FILE_LINES_MAX}"));
    }
    let lines: Vec<_> = text.lines().collect();
    for (first, length) in functions(&lines) {
        if length > FUNCTION_LINES_MAX && !is_excused(&lines, first) {
            complaints
                .push(format!("{path}:{}: a function of {length} lines, more than {FUNCTION_LINES_MAX}", first + 1));
        }
    }
    complaints.extend(unfinished(path, &lines));
    complaints
}

/// Returns the exceptions in [`LONG_FILES`] whose files are gone or short.
pub(crate) fn stale_exceptions<'a>(text: impl Fn(&str) -> Option<&'a str>) -> Vec<String> {
    let is_long = |path| text(path).is_some_and(|text| lines_without_tests(text) > FILE_LINES_MAX);
    LONG_FILES.iter().filter(|(path, _)| !is_long(path)).map(|(path, _)| format!("{path}: not long any more")).collect()
}

/// Returns the lines that name a folder of somebody's machine.
pub(crate) fn machine_paths(path: &str, text: &str) -> Vec<String> {
    // Put together here, so that this file does not name them itself.
    let places = ["home", "root", "work", "Users"].map(|name| format!("/{name}/"));
    let names = |line: &str| {
        let starts_there = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || ".-_~".contains(c));
        places.iter().any(|place| line.match_indices(place).any(|(at, _)| starts_there(at)))
    };
    let lines = text.lines().zip(1..).filter(|(line, _)| names(line));
    lines.map(|(line, number)| format!("{path}:{number}: names a place of one machine: {}", line.trim())).collect()
}

/// Complains of what a merge left undecided.
pub(crate) fn undecided(path: &str, text: &str) -> Vec<String> {
    let marks = ["<", ">"].map(|mark| mark.repeat(7) + " ");
    let lines = text.lines().zip(1..).filter(|(line, _)| marks.iter().any(|mark| line.starts_with(mark)));
    lines.map(|(line, number)| format!("{path}:{number}: a merge left this undecided: {line}")).collect()
}

fn lines_without_tests(text: &str) -> usize {
    text.split_once("\n#[cfg(test)]\nmod tests {").map_or(text, |(before, _)| before).lines().count()
}

/// Returns each function's first line and its length. Counts on rustfmt: a body ends at a brace as deep as its `fn`.
fn functions(lines: &[&str]) -> Vec<(usize, usize)> {
    let length = |first: usize| {
        let line = lines[first];
        let indent = &line[..line.len() - line.trim_start().len()];
        if line.ends_with([';', '}']) {
            return 1;
        }
        let ends = |line: &&str| {
            let rest = line.strip_prefix(indent).unwrap_or("");
            rest == "}" || (rest.starts_with(')') && rest.ends_with([';', '}']))
        };
        1 + lines[first + 1..].iter().position(ends).map_or(lines.len() - first, |after| after + 1)
    };
    (0..lines.len()).filter(|&i| is_function(lines[i])).map(|i| (i, length(i))).collect()
}

fn is_function(line: &str) -> bool {
    let words = line.split_whitespace().skip_while(|word| {
        word.starts_with("pub") || word.starts_with("(") || ["async", "const", "unsafe", "in"].contains(word)
    });
    words.into_iter().next() == Some("fn")
}

/// Returns whether the comments and attributes right above a function give a reason for its length.
fn is_excused(lines: &[&str], first: usize) -> bool {
    let above = lines[..first].iter().rev().map(|line| line.trim());
    let mut about = above.take_while(|line| line.starts_with("//") || line.starts_with("#["));
    about.any(|line| line.strip_prefix(LONG_BECAUSE).is_some_and(|reason| reason.len() > 10))
}

/// Returns the marks of unfinished work.
fn unfinished(path: &str, lines: &[&str]) -> Vec<String> {
    // Put together here, so that this file does not contain them itself.
    let marks = ["todo", "unimplemented"].map(|name| format!("{name}!("));
    let ignored = format!("#[{}]", "ignore");
    let find = |line: &str| {
        let code = line.split("//").next().unwrap_or("");
        let mark = marks.iter().find(|mark| code.contains(mark.as_str()));
        mark.or_else(|| code.contains(&ignored).then_some(&ignored)).cloned()
    };
    let found = lines.iter().zip(1..).filter_map(|(line, number)| Some((find(line)?, number)));
    found.map(|(mark, number)| format!("{path}:{number}: {mark} without a reason")).collect()
}

#[test]
fn a_file_without_a_header_is_named() {
    assert_eq!(complaints("a.rs", "fn a() {}\n").len(), 1);
    assert_eq!(complaints("a.rs", "").len(), 1);
    assert_eq!(complaints("a.rs", "//! Says what it is for.\n"), [""; 0]);
}

#[test]
fn a_long_file_is_named_and_its_tests_do_not_count() {
    let lines = |n| "//! Says what it is for.\n".to_owned() + &"const A: u8 = 0;\n".repeat(n);
    assert_eq!(complaints("a.rs", &lines(599)), [""; 0]);
    assert_eq!(complaints("a.rs", &lines(600)).len(), 1);
    let tested = format!("{}\n#[cfg(test)]\nmod tests {{\n{}}}\n", lines(500), "    // A line.\n".repeat(500));
    assert_eq!(complaints("a.rs", &tested), [""; 0]);
}

#[test]
fn a_long_function_is_named_wherever_it_stands_and_a_reason_excuses_it() {
    let body = |n| "        a();\n".repeat(n);
    let long = |above: &str, n| {
        format!(
            "//! Says what it is for.\nimpl A {{\n{above}    pub(crate) async fn a(\n    ) -> u8 {{\n{}    }}\n}}\n",
            body(n)
        )
    };
    assert_eq!(complaints("a.rs", &long("", 67)), [""; 0]);
    assert_eq!(complaints("a.rs", &long("", 68)), ["a.rs:3: a function of 71 lines, more than 70"]);
    let reason = format!("    {LONG_BECAUSE}it is one long table\n    #[inline]\n");
    assert_eq!(complaints("a.rs", &long(&reason, 68)), [""; 0]);
    assert_eq!(complaints("a.rs", &long(&format!("    {LONG_BECAUSE}\n"), 68)).len(), 1);
}

#[test]
fn short_forms_of_functions_are_one_function_each() {
    let text = "fn a() {}\nfn b();\nfn c(\n) -> u8;\nfn d() {\n    if x {\n    }\n}\nlet f: fn (u8);";
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(functions(&lines), [(0, 1), (1, 1), (2, 2), (4, 4)]);
}

#[test]
fn unfinished_work_is_named() {
    for mark in [["todo", "!()"], ["unimplemented", "!(\"later\")"], ["#[igno", "re]"]] {
        let text = format!("//! Says what it is for.\n{}\n", mark.concat());
        assert_eq!(complaints("a.rs", &text).len(), 1, "{text}");
    }
    let reasoned = format!("//! Says what it is for.\n#[{} = \"needs a printer\"]\n", "ignore");
    assert_eq!(complaints("a.rs", &reasoned), [""; 0]);
}

#[test]
fn a_place_of_one_machine_is_named() {
    for name in ["home", "root", "work"] {
        assert_eq!(machine_paths("a", &format!("x = \"/{name}/me\"")).len(), 1);
        assert_eq!(machine_paths("a", &format!("https://example.org/{name}/me ../{name}/me")), [""; 0]);
    }
}

#[test]
fn both_sides_of_an_undecided_merge_are_found() {
    let text = format!("a\n{} ours\nb\n=======\nc\n{} theirs\n", "<".repeat(7), ">".repeat(7));
    assert_eq!(undecided("a", &text).len(), 2);
    assert_eq!(undecided("a", "=======\n  <<<<<<< shown\n"), [""; 0]);
}
