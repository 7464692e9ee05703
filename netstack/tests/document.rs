//! What docs/tcp.md names is there.
//!
//! In:    the document; the sources and tests of this package
//! Out:   each name in one of its tables that stands for nothing
//! Never: judges whether a test holds what the document says of it
//!
//! A table is known by its last heading: tests stand under `held by`, files in the column before them, settings
//! under `ours`, counters in the first column before `what it says`, fields in the first column before `meaning`.

use std::fs;
use std::path::Path;

#[test]
fn every_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).expect(path);
    let code = sources(&root.join("src")) + &sources(&root.join("tests"));
    let settings = read("src/connection/config.rs") + &read("src/stack.rs");
    let manual = read("../docs/management.md");
    let fields = read("src/connection/description.rs");

    let document = read("../docs/tcp.md");
    let mut heading = "";
    let mut checked = 0;
    for line in document.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, first, ref between @ .., last, _] = cells[..] else {
            heading = "";
            continue;
        };
        if heading.is_empty() {
            heading = last;
            continue;
        }
        let mut check = |cell, is_there: &dyn Fn(&str) -> bool| {
            for name in names(cell) {
                assert!(is_there(name), "docs/tcp.md: `{name}` stands for nothing in: {line}");
                checked += 1;
            }
        };
        match heading {
            "held by" => {
                check(between[1], &|file| root.join("src").join(file).is_file());
                check(last, &|test| code.contains(&format!("#[test]\nfn {test}()")));
            }
            "ours" => check(last, &|name| {
                !name.contains('_') || settings.contains(&format!("pub {name}: "))
            }),
            "what it says" => check(first, &|name| manual.contains(&format!("`{name}`"))),
            "meaning" => check(first, &|name| fields.contains(&format!("pub {name}: "))),
            other => panic!("docs/tcp.md: nobody knows what stands under `{other}`"),
        }
    }
    assert!(checked > 250, "only {checked} names: the tables are no longer understood");
    for field in fields.lines().filter_map(|line| line.trim().strip_prefix("pub ")) {
        if let Some((name, _)) = field.split_once(": ") {
            assert!(document.contains(&format!("`{name}`")), "docs/tcp.md has no `{name}`");
        }
    }
}

/// What stands in backticks.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// All files of a folder, each line without its indentation.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            text += &sources(&path);
        } else {
            let source = fs::read_to_string(&path).expect("a source");
            text.extend(source.lines().flat_map(|line| [line.trim_start(), "\n"]));
        }
    }
    text
}
