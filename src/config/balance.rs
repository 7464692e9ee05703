//! `balance`, `hash-type`, `hash-balance-factor`.
//!
//! In:    the words of a line
//! Out:   parts of a [`Balance`](super::model::Balance)
//! Never: chooses a server
//! Read:  docs/configuration.md, "balance"

use super::model::{Algorithm, HashFunction, HashMethod, HashType};
use super::parser::Line;
use super::report::Fault;
use super::units;

/// Algorithms of HAProxy that look at requests of HTTP, or at nothing that is here.
const OF_HTTP: &[&str] = &["hdr", "uri", "url_param"];
const UNSUPPORTED: &[&str] = &["hash", "log-hash", "sticky"];
const KNOWN: &str =
    "'roundrobin', 'static-rr', 'leastconn', 'first', 'source', 'random', 'rdp-cookie'";

/// `balance [<algorithm>]`
pub(super) fn algorithm(line: &Line<'_>) -> Result<Algorithm, Fault> {
    // Without an algorithm it is the default one.
    let Some(word) = line.argument(0) else { return Ok(Algorithm::default()) };
    line.at_most(1)?;
    let (name, argument) = match word.split_once('(') {
        None => (word, None),
        Some((name, rest)) => match rest.strip_suffix(')') {
            Some(argument) => (name, Some(argument)),
            None => return Err(format!("'balance {word}' : missing closing parenthesis.").into()),
        },
    };
    match (name, argument) {
        ("roundrobin", None) => Ok(Algorithm::RoundRobin),
        ("static-rr", None) => Ok(Algorithm::StaticRr),
        ("leastconn", None) => Ok(Algorithm::LeastConn),
        ("first", None) => Ok(Algorithm::First),
        ("source", None) => Ok(Algorithm::Source),
        ("random", argument) => random(argument),
        ("rdp-cookie", Some("")) => {
            Err("rdp-cookie(name) : name of the cookie is missing.".to_string().into())
        }
        ("rdp-cookie", argument) => {
            Ok(Algorithm::RdpCookie(argument.unwrap_or("mstshash").to_string()))
        }
        (name, _) if OF_HTTP.contains(&name) => Err(Fault::hinted(
            format!(
                "algorithm '{name}' of 'balance' needs 'mode http', which xlb does not have yet."
            ),
            format!("these work in 'mode tcp': {KNOWN}."),
        )),
        (name, _) if UNSUPPORTED.contains(&name) => Err(Fault::hinted(
            format!("algorithm '{name}' of 'balance' is not supported by xlb yet."),
            format!("these are: {KNOWN}."),
        )),
        _ => Err(format!("'balance' only supports {KNOWN} (got '{word}').").into()),
    }
}

fn random(argument: Option<&str>) -> Result<Algorithm, Fault> {
    let Some(argument) = argument else { return Ok(Algorithm::Random { draws: 2 }) };
    match argument.parse() {
        Ok(draws @ 1..) => Ok(Algorithm::Random { draws }),
        _ => Err("'balance random' : number of draws must be at least 1.".to_string().into()),
    }
}

/// `hash-type map-based|consistent [<function>] [avalanche]`
pub(super) fn hash_type(line: &Line<'_>) -> Result<HashType, Fault> {
    let method = match line.argument(0) {
        Some("map-based") => HashMethod::MapBased,
        Some("consistent") => HashMethod::Consistent,
        Some("avalanche") => {
            return Err(
                "experimental feature 'hash-type avalanche' is not supported anymore, please \
                        use 'hash-type map-based sdbm avalanche' instead."
                    .to_string()
                    .into(),
            );
        }
        other => {
            let other = other.unwrap_or_default();
            return Err(format!(
                "'hash-type' only supports 'consistent' and 'map-based' (got '{other}')."
            )
            .into());
        }
    };
    let function = match line.argument(1) {
        None => None,
        Some("sdbm") => Some(HashFunction::Sdbm),
        Some("djb2") => Some(HashFunction::Djb2),
        Some("wt6") => Some(HashFunction::Wt6),
        Some("crc32") => Some(HashFunction::Crc32),
        Some("none") => Some(HashFunction::None),
        Some(other) => {
            return Err(format!(
                "'hash-type' only supports 'sdbm', 'djb2', 'crc32', 'wt6' or 'none' as a function (got '{other}')."
            )
            .into());
        }
    };
    let avalanche = match line.argument(2) {
        None => false,
        Some("avalanche") => true,
        Some(other) => {
            return Err(format!(
                "'hash-type' only supports 'avalanche' as a modifier for hash functions (got '{other}')."
            )
            .into());
        }
    };
    line.at_most(3)?;
    Ok(HashType { method, function, avalanche })
}

/// `hash-balance-factor <percent>`; 0 is none.
pub(super) fn factor(line: &Line<'_>) -> Result<Option<u32>, Fault> {
    let percent = units::integer(line.argument(0), 0..=i64::from(i32::MAX), line.name)?;
    line.at_most(1)?;
    match u32::try_from(percent).expect("in range") {
        0 => Ok(None),
        1..=100 => Err("'hash-balance-factor' must be 0 or greater than 100.".to_string().into()),
        percent => Ok(Some(percent)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parser::tests::with_line;
    use super::*;

    #[test]
    fn algorithms() {
        let read = |words| with_line("balance", words, |line, _| algorithm(line)).0;
        assert_eq!(read(""), Ok(Algorithm::RoundRobin));
        assert_eq!(read("leastconn"), Ok(Algorithm::LeastConn));
        assert_eq!(read("random(3)"), Ok(Algorithm::Random { draws: 3 }));
        assert_eq!(read("random"), Ok(Algorithm::Random { draws: 2 }));
        assert_eq!(read("rdp-cookie(x)"), Ok(Algorithm::RdpCookie("x".into())));
        assert_eq!(read("rdp-cookie"), Ok(Algorithm::RdpCookie("mstshash".into())));
        for words in [
            "uri",
            "hdr(host)",
            "nope",
            "random(0)",
            "random(",
            "rdp-cookie()",
            "source x",
            "first(1)",
        ] {
            assert!(read(words).is_err(), "{words}");
        }
    }

    #[test]
    fn hash_types_and_factors() {
        let read = |words| with_line("hash-type", words, |line, _| hash_type(line)).0;
        let consistent = HashType { method: HashMethod::Consistent, ..HashType::default() };
        assert_eq!(read("consistent"), Ok(consistent));
        let full = HashType {
            method: HashMethod::MapBased,
            function: Some(HashFunction::Djb2),
            avalanche: true,
        };
        assert_eq!(read("map-based djb2 avalanche"), Ok(full));
        for words in
            ["", "avalanche", "consistent x", "consistent sdbm x", "map-based wt6 avalanche x"]
        {
            assert!(read(words).is_err(), "{words}");
        }
        let read = |words| with_line("hash-balance-factor", words, |line, _| factor(line)).0;
        assert_eq!((read("0"), read("150")), (Ok(None), Ok(Some(150))));
        assert!(read("100").is_err() && read("").is_err());
    }
}
