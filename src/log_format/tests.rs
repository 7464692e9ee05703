//! Lines as HAProxy 2.6 writes them for the same facts.

use super::*;

fn course() -> Course {
    Course {
        handshake_ms: 0,
        wait_ms: 1,
        connect_ms: 2,
        data_ms: 30,
        total_ms: 33,
        asap: false,
        bytes_down: 1234,
        bytes_up: 56,
        end: *b"--",
        process_connections: 5,
        frontend_connections: 4,
        backend_connections: 3,
        server_connections: 2,
        retries: 1,
        is_redispatched: true,
        server_queue: 7,
        backend_queue: 8,
    }
}

fn record() -> Record<'static> {
    let at = |text: &str| Some(Endpoint::Inet(text.parse().unwrap()));
    Record {
        process: Process { hostname: "lb1", pid: 4711 },
        client: at("192.0.2.9:40000"),
        frontend_address: at("198.51.100.1:80"),
        backend_address: at("10.0.0.1:50000"),
        server_address: at("10.0.0.2:8080"),
        listener: 1,
        frontend: "www",
        is_tls: false,
        tls_version: None,
        tls_cipher: None,
        backend: "app",
        server: Some("s1"),
        accepted_us: 1_795_709_330_814_999,
        course: course(),
        request: 9,
        line: 10,
        unique_id: None,
    }
}

fn line_of(format: &str, record: &Record<'_>) -> String {
    let mut out = Vec::new();
    Format::parse(format).unwrap().render(record, &mut Dates::utc(), &mut out);
    String::from_utf8(out).unwrap()
}

fn line(format: &str) -> String {
    line_of(format, &record())
}

#[test]
fn tcplog_is_haproxys() {
    assert_eq!(
        line(TCPLOG),
        "192.0.2.9:40000 [26/Nov/2026:16:08:50.814] www app/s1 1/2/33 1234 -- 5/4/3/2/+1 7/8"
    );
    let lost = Record {
        server: None,
        backend: "www",
        course: Course {
            wait_ms: -1,
            connect_ms: -1,
            total_ms: 0,
            bytes_down: 0,
            end: *b"SC",
            retries: 0,
            is_redispatched: false,
            ..course()
        },
        ..record()
    };
    assert!(line_of(TCPLOG, &lost).contains("www www/<NOSRV> -1/-1/0 0 SC 5/4/3/2/0"));
    let early = Record { course: Course { asap: true, ..course() }, ..record() };
    assert!(line_of(TCPLOG, &early).contains("1/2/+33 +1234 --"));
}

#[test]
fn every_variable() {
    for (format, expected) in [
        ("%H %pid %f %ft %b %s", "lb1 4711 www www app s1"),
        (
            "%ci %cp %fi %fp %bi %bp %si %sp",
            "192.0.2.9 40000 198.51.100.1 80 10.0.0.1 50000 10.0.0.2 8080",
        ),
        ("%T|%Tl|%Ts|%ms", "26/Nov/2026:16:08:50 +0000|26/Nov/2026:16:08:50 +0000|1795709330|814"),
        ("%Th/%Tw/%Tc/%Td/%Tt/%Tu", "0/1/2/30/33/33"),
        ("%U %B %ts %tsc", "56 1234 -- ----"),
        ("%ac %fc %bc %sc %rc %sq %bq %rt %lc", "5 4 3 2 +1 7 8 9 10"),
        ("%ID|%sslv|%sslc|%ST", "-|-|-|0"),
        ("a%hr%%  b", "a% b"),
        (
            "%{+Q}f %{+Q}ci %{+X}cp %{+X}pid %{+X}Ts %{+X}ci",
            "\"www\" \"192.0.2.9\" 9C40 1267 6B085992 C0000209",
        ),
        ("%{+Q}o %f %b", " \"www\" \"app\""),
    ] {
        assert_eq!(line(format).trim_start(), expected.trim_start(), "{format}");
    }
    let mut names: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert_eq!(names, FIELDS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}

#[test]
fn unix_sockets_have_the_number_of_their_listener() {
    let local = Record { client: Some(Endpoint::Unix), listener: 3, ..record() };
    assert_eq!(line_of("%ci:%cp", &local), "unix:3");
}

#[test]
fn expressions_are_filled_in_by_the_caller() {
    let format = Format::parse("%[src] %{+Q}[str(a])] %{+E}[x]").unwrap();
    assert_eq!(format.expressions(), ["src", "str(a])", "x"]);
    let mut out = Vec::new();
    format.render_with(&record(), &mut Dates::utc(), &mut out, |index, out| {
        out.extend_from_slice(&[b'0' + index as u8, b']']);
        index != 1
    });
    assert_eq!(String::from_utf8(out).unwrap(), "0] \"\" 2\\]");
}

#[test]
fn what_is_no_format() {
    let text = |format| Format::parse(format).unwrap_err().to_string();
    assert!(text("%nope").contains("nope"));
    assert!(text("%{+Q}").contains("without variable name"));
    assert!(text("%[src").contains("src"));
    assert!(text("100 %").contains("truncated line"), "{}", text("100 %"));
    assert!(Format::parse("%[]").is_err());
}

#[test]
fn a_line_is_due_when_all_of_it_is_known() {
    let stage = |format: &str, asap| Format::parse(format).unwrap().stage(asap);
    assert_eq!(stage(TCPLOG, false), Stage::Ended);
    assert_eq!(stage(TCPLOG, true), Stage::Connected);
    assert_eq!(stage("%ci", false), Stage::Accepted);
    assert_eq!(stage("%f", false), Stage::Connected);
    assert_eq!(stage("%ci %s", false), Stage::Connected);
}
