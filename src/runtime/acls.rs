//! Commands about what ACLs compare with.
//!
//! In:    a list of values, by its number or its file; a value
//! Out:   the values; changes of them, for streams that ask from now on
//! Never: writes a file: a reload reads it again

use std::fmt::Write;

use super::RELOAD_MAX;
use super::commands::Call;
use crate::boot::acls::{AclChange, AclEdit, AclList, lists, named};
use crate::control::Question;

type Answer = Result<String, String>;

/// `show acl [#<id>|<file>]`
pub fn show(call: &mut Call<'_, '_>) -> Answer {
    let config = &call.session.runtime.config;
    let mut out = String::new();
    // Writing to a string cannot fail.
    if let Some(name) = call.argument(0) {
        for (place, value) in named(config, name)?.list.values.iter().enumerate() {
            let _ = writeln!(out, "{place:#x} {value}");
        }
        return Ok(out);
    }
    out.push_str("# id (file) description\n");
    for (number, AclList { list, lines, .. }) in lists(config).iter().enumerate() {
        let places = lines.iter().map(|(_, at)| format!("file '{}' line {}", at.file, at.line));
        let description = match (&list.file, lines.first()) {
            (Some(file), _) => {
                let by: Vec<String> = places.map(|place| format!("by acl at {place}")).collect();
                format!("pattern loaded from file '{file}' used {}", by.join(", "))
            }
            (None, Some((written, at))) => {
                format!("acl '{}' file '{}' line {}", written.criterion, at.file, at.line)
            }
            (None, None) => String::new(),
        };
        let _ = writeln!(
            out,
            "{number} ({}) {description}. curr_ver=0 next_ver=0 entry_cnt={}",
            list.file.as_deref().unwrap_or_default(),
            list.values.len()
        );
    }
    Ok(out)
}

/// `add acl #<id>|<file> <value>`
pub fn add(call: &mut Call<'_, '_>) -> Answer {
    let (Some(list), Some(value)) = (call.argument(0), call.argument(1)) else {
        return Err("'add acl' expects two parameters: ACL identifier and pattern.\n".into());
    };
    edit(call, list, AclChange::Add(value.into()))
}

/// `del acl #<id>|<file> <value>`
pub fn del(call: &mut Call<'_, '_>) -> Answer {
    let (Some(list), Some(value)) = (call.argument(0), call.argument(1)) else {
        return Err("This command expects two parameters: ACL identifier and key.\n".into());
    };
    edit(call, list, AclChange::Del(value.into()))
}

/// `clear acl #<id>|<file>`
pub fn clear(call: &mut Call<'_, '_>) -> Answer {
    let list = call.argument(0).ok_or("Missing ACL identifier.\n")?;
    edit(call, list, AclChange::Clear)
}

fn edit(call: &Call<'_, '_>, list: &str, change: AclChange) -> Answer {
    let edit = AclEdit { list: list.into(), change };
    let runtime = &call.session.runtime;
    let answer = runtime.ask_control_for(RELOAD_MAX, |to| Question::EditAcl(edit, to));
    answer
        .unwrap_or_else(|| Err("xlb is busy: look into its log for what has come of it.\n".into()))
}
