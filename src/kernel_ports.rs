//! Ports that the kernel's own programs use, so that xlb does not take them away.
//!
//! In:    /proc/net/tcp, /proc/net/tcp6, sysctls
//! Out:   addresses and ports in LISTEN; whether a range is kept free of the kernel's own choice
//! Read:  Documentation/networking/proc_net_tcp.rst; ip-sysctl.rst, ip_local_reserved_ports

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use netstack::Endpoint;

/// TCP_LISTEN of the kernel's include/net/tcp_states.h.
const LISTEN: &str = "0A";

/// Where programs of this machine listen. What cannot be read counts as nothing.
pub fn listening() -> Vec<Endpoint> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .flat_map(|text| text.lines().filter_map(parse_line).collect::<Vec<_>>())
        .collect()
}

fn parse_line(line: &str) -> Option<Endpoint> {
    let mut words = line.split_whitespace();
    let local = words.nth(1)?;
    let state = words.nth(1)?;
    if state != LISTEN {
        return None;
    }
    let (ip, port) = local.split_once(':')?;
    Some(Endpoint { ip: parse_ip(ip)?, port: u16::from_str_radix(port, 16).ok()? })
}

/// Words of 32 bits in the machine's byte order, each in hexadecimal.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let mut bytes = [0; 16];
    let words = text.len() / 8;
    for index in 0..words.min(4) {
        let word = u32::from_str_radix(text.get(index * 8..index * 8 + 8)?, 16).ok()?;
        bytes[index * 4..index * 4 + 4].copy_from_slice(&word.to_ne_bytes());
    }
    match words {
        1 => Some(IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))),
        4 => Some(IpAddr::V6(Ipv6Addr::from(bytes))),
        _ => None,
    }
}

/// Whether the kernel never chooses a port of `range` by itself.
pub fn is_kept_free(range: &RangeInclusive<u16>) -> bool {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"));
    let local = read("ip_local_port_range").unwrap_or_default();
    let reserved = read("ip_local_reserved_ports").unwrap_or_default();
    is_free_of(range, &local, &reserved)
}

fn is_free_of(range: &RangeInclusive<u16>, local: &str, reserved: &str) -> bool {
    let mut local = local.split_whitespace().filter_map(|word| word.parse::<u16>().ok());
    let (Some(first), Some(last)) = (local.next(), local.next()) else { return true };
    let reserved: Vec<RangeInclusive<u16>> = reserved
        .trim()
        .split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse().ok()?..=last.parse().ok()?)
        })
        .collect();
    range
        .clone()
        .filter(|port| (first..=last).contains(port))
        .all(|port| reserved.iter().any(|kept| kept.contains(&port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_listening_sockets_of_both_families() {
        let v4 = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0";
        assert_eq!(parse_line(v4), Some(Endpoint::new(Ipv4Addr::LOCALHOST, 8080)));
        let v6 = "   1: 00000000000000000000000001000000:0016 0000:0000 0A 0:0 0:0 0";
        assert_eq!(parse_line(v6), Some(Endpoint::new(Ipv6Addr::LOCALHOST, 22)));
        let established = "   2: 0100007F:1F90 0100007F:9999 01 00000000:00000000";
        assert_eq!(parse_line(established), None);
        assert_eq!(parse_line("  sl  local_address rem_address   st tx_queue"), None);
    }

    #[test]
    fn knows_whether_the_kernel_keeps_off_a_range() {
        let local = "32768\t60999\n";
        assert!(is_free_of(&(16_384..=32_767), local, "\n"));
        assert!(!is_free_of(&(16_384..=32_768), local, "\n"));
        assert!(is_free_of(&(40_000..=40_100), local, "8080,40000-40050,40051-41000\n"));
        assert!(!is_free_of(&(40_000..=40_100), local, "40000-40050\n"));
    }
}
