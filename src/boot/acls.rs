//! Values of ACLs that come and go by an operator's word.
//!
//! In:    a list of values, by its number or its file; a value
//! Out:   the configuration with it or without it, in effect; or why not, in HAProxy's words
//! Never: writes a file
//! Read:  HAProxy's management guide, "add acl", "del acl"

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Running;
use crate::config::model::{AclLine, Config, Location, Matcher, PatternList, ProxyIndex, Written};
use crate::config::{Environment, Surroundings, System, load_from};

/// A change of the values of an ACL.
#[derive(Clone, Debug)]
pub struct AclEdit {
    /// `#<number>`, or a file.
    pub list: String,
    /// What is to be done.
    pub change: AclChange,
}

/// What is to be done with values.
#[derive(Clone, Debug)]
pub enum AclChange {
    /// One more.
    Add(String),
    /// This one is no more, as often as it is there.
    Del(String),
    /// None is left.
    Clear,
}

/// Where a list of values is used: proxy, ACL, line of it, list of that.
type Use = (ProxyIndex, usize, usize, usize);

/// A list of values, with all its uses; those of a file are one.
pub struct AclList<'a> {
    /// The values.
    pub list: &'a PatternList,
    /// The lines that use it.
    pub lines: Vec<(&'a Written, &'a Location)>,
    uses: Vec<Use>,
}

const UNKNOWN: &str = "Unknown ACL identifier. Please use #<id> or <file>.\n";

/// All lists of a configuration, in the order that numbers them.
pub fn lists(config: &Config) -> Vec<AclList<'_>> {
    let mut all: Vec<AclList<'_>> = Vec::new();
    for (index, proxy) in config.proxies.placed() {
        for (acl, known) in proxy.acls.iter().enumerate() {
            for (number, AclLine { written, at, .. }) in known.lines.iter().enumerate() {
                for (place, list) in written.lists.iter().enumerate() {
                    let here = (ProxyIndex(index), acl, number, place);
                    let same =
                        |one: &&mut AclList<'_>| list.file.is_some() && one.list.file == list.file;
                    if let Some(same) = all.iter_mut().find(same) {
                        same.lines.push((written, at));
                        same.uses.push(here);
                        continue;
                    }
                    all.push(AclList { list, lines: vec![(written, at)], uses: vec![here] });
                }
            }
        }
    }
    all
}

/// The list that `#<number>` or a file names.
pub fn named<'a>(config: &'a Config, name: &str) -> Result<AclList<'a>, String> {
    let mut all = lists(config).into_iter();
    let found = match name.strip_prefix('#') {
        Some(number) => number.parse().ok().and_then(|number: usize| all.nth(number)),
        None => all.find(|one| one.list.file.as_deref() == Some(name)),
    };
    found.ok_or_else(|| UNKNOWN.to_string())
}

/// Values of an ACL, as the files of a configuration.
struct Values<'a>(&'a Written);

/// The name of the file that holds them.
const VALUES: &str = "values";

impl Values<'_> {
    /// Values with an operator are words of a line.
    fn split(&self) -> (Vec<&str>, Vec<&str>) {
        let all = self.0.lists.iter().flat_map(|list| &list.values).map(|value| &**value);
        let is_number = matches!(self.0.method, "int" | "len");
        all.partition(|value| is_number && value.contains(' '))
    }

    /// Something of the kind that the method takes.
    fn criterion(&self) -> &'static str {
        match self.0.method {
            "ip" => "src",
            "int" => "dst_port",
            "bool" => "always_true",
            "bin" => "req.payload(0,1)",
            _ => "str(x)",
        }
    }
}

impl Surroundings for Values<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let (words, lines) = self.split();
        if path == Path::new(VALUES) {
            return Ok(lines.join("\n").into_bytes());
        }
        let case = if self.0.ignores_case { "-i" } else { "" };
        Ok(format!(
            "frontend values\n acl values {} {case} -m {} -f {VALUES} -- {}\n",
            self.criterion(),
            self.0.method,
            words.join(" ")
        )
        .into_bytes())
    }

    fn list(&self, _: &Path) -> io::Result<Option<Vec<PathBuf>>> {
        Ok(None)
    }

    fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        System.resolve(name)
    }
}

fn is_letter_of_names(c: char) -> bool {
    c.is_ascii_alphabetic()
}

/// What a line compares with now.
fn matcher(written: &Written) -> Result<Arc<Matcher>, String> {
    let values = Values(written);
    let loaded = load_from(&["acl".into()], &Environment::default(), &values);
    let loaded = loaded.map_err(|report| {
        let first = report.diagnostics.first().map_or("", |first| &first.text);
        let reason = first.rsplit(" : ").next().unwrap_or_default();
        format!("{reason}\n")
    })?;
    let proxy = loaded.config.proxies.values().next().expect("one section was written");
    Ok(proxy.acls[0].lines[0].matcher.clone())
}

impl Running {
    /// Changes the values of an ACL for streams that ask from now on.
    pub fn edit_acl(&mut self, edit: &AclEdit) -> Result<String, String> {
        let mut config = Config::clone(&self.config);
        let found = named(&self.config, &edit.list)?;
        let mut values = found.list.values.clone();
        match &edit.change {
            AclChange::Add(value) => {
                // Nobody waits for a resolver here.
                let is_of_addresses = found.lines.iter().any(|(line, _)| line.method == "ip");
                if is_of_addresses && value.contains(is_letter_of_names) && !value.contains(':') {
                    return Err(format!("'{value}' is not a valid IPv4 or IPv6 address.\n"));
                }
                values.push(value.as_str().into());
            }
            AclChange::Clear => values.clear(),
            AclChange::Del(value) => {
                let before = values.len();
                values.retain(|known| **known != **value);
                if values.len() == before {
                    return Err("Key not found.\n".into());
                }
            }
        }
        for (proxy, acl, line, place) in found.uses {
            let line = &mut config.proxies[proxy.0].acls[acl].lines[line];
            line.written.lists[place].values.clone_from(&values);
            line.matcher = matcher(&line.written)?;
        }
        self.change_to(config)?;
        Ok(String::new())
    }
}
