//! `source`: where connections to servers come from.
//!
//! In:    `<addr>[:<port>[-<port>]] [usesrc <addr>|client|clientip] [interface <name>]`
//! Out:   a [`ServerSource`]
//! Never: looks whether the address is ours

use std::net::IpAddr;

use super::address::{self, Host};
use super::global::interface_name;
use super::model::{ServerSource, SourceAddress, SourcePorts};
use super::parser::Context;
use super::report::Fault;

/// Reads the words after `source`; gives what they say and how many of them are its own.
pub(super) fn source(
    words: &[&str],
    context: &Context<'_>,
) -> Result<(ServerSource, usize), Fault> {
    let expects = || {
        Fault::hinted(
            "'source' expects <addr>[:<port>[-<port>]], and optionally '[usesrc <addr>]' and '[interface <name>]'.",
            "for example: 'source 192.0.2.7', or 'source 0.0.0.0 usesrc clientip'.",
        )
    };
    let text = words.first().ok_or_else(expects)?;
    let mut source = ServerSource {
        address: match own_address(text, context)? {
            Some(ip) => SourceAddress::Fixed(ip),
            None => SourceAddress::Any,
        },
        ports: ports(text)?,
        interface: None,
    };
    let mut taken = 1;
    while let Some(word) = words.get(taken) {
        let value = words.get(taken + 1).copied();
        match *word {
            "usesrc" => source.address = used_address(value, context)?,
            "interface" => {
                let name =
                    value.ok_or_else(|| "'interface' : missing interface name".to_string())?;
                source.interface = Some(interface_name(name)?);
            }
            _ => break,
        }
        taken += 2;
    }
    Ok((source, taken))
}

fn own_address(text: &str, context: &Context<'_>) -> Result<Option<IpAddr>, Fault> {
    match address::endpoint(text)?.host {
        Host::Any(_) => Ok(None),
        Host::Address(ip) => Ok(Some(ip)),
        Host::Name(name, family) => context.resolve(&name, family).map(Some),
    }
}

fn used_address(value: Option<&str>, context: &Context<'_>) -> Result<SourceAddress, Fault> {
    match value {
        None => Err(Fault::hinted(
            "'usesrc' expects <addr>, 'client' or 'clientip' as argument.",
            "for example: 'source 0.0.0.0 usesrc clientip'.",
        )),
        Some("client") => Ok(SourceAddress::Client),
        Some("clientip") => Ok(SourceAddress::ClientIp),
        Some(word) if word.starts_with("hdr_ip(") => {
            Err(format!("'usesrc' : '{word}' needs 'mode http', which xlb does not have yet.")
                .into())
        }
        Some(word) => match own_address(word, context)? {
            Some(ip) => Ok(SourceAddress::Foreign(ip)),
            None => Err(format!("'usesrc' : '{word}' is no address to come from.").into()),
        },
    }
}

fn ports(text: &str) -> Result<SourcePorts, Fault> {
    match address::endpoint(text)?.port {
        None | Some("" | "0") => Ok(SourcePorts::Any),
        port => address::bind_ports(port, text).map(SourcePorts::Range),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parser::tests::with_line;
    use super::*;

    fn read(words: &str) -> Result<(ServerSource, usize), Fault> {
        with_line("source", words, |line, context| source(line.arguments, context)).0
    }

    #[test]
    fn forms() {
        let ip: IpAddr = "192.0.2.7".parse().unwrap();
        let plain = |address| ServerSource { address, ports: SourcePorts::Any, interface: None };
        assert_eq!(read("192.0.2.7"), Ok((plain(SourceAddress::Fixed(ip)), 1)));
        assert_eq!(read("web.example weight 3"), Ok((plain(SourceAddress::Fixed(ip)), 1)));
        assert_eq!(read("0.0.0.0 usesrc clientip"), Ok((plain(SourceAddress::ClientIp), 3)));
        assert_eq!(read("* usesrc client check"), Ok((plain(SourceAddress::Client), 3)));
        assert_eq!(read("0.0.0.0 usesrc 192.0.2.7"), Ok((plain(SourceAddress::Foreign(ip)), 3)));
        let (source, taken) = read("192.0.2.7:5000-5999 interface eth1 backup").unwrap();
        assert_eq!((source.ports, taken), (SourcePorts::Range(5000..=5999), 3));
        assert_eq!(source.interface.as_deref(), Some("eth1"));
        for words in ["", "x y", "1.2.3.4 usesrc", "1.2.3.4 usesrc hdr_ip(x)", "* interface"] {
            assert!(read(words).is_err(), "{words}");
        }
    }
}
