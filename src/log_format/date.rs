//! Dates as HAProxy writes them.
//!
//! In:    microseconds since 1970, UTC
//! Out:   text, in the local time zone or in UTC
//! Owns:  the last second that was asked for, in pieces: lines come in bursts
//! Never: reads a clock; the zone is handed in

use std::io::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const US_PER_SECOND: i64 = 1_000_000;

/// A writer of dates.
#[derive(Clone, Debug)]
pub struct Dates {
    zone: TimeZone,
    local: Second,
    utc: Second,
}

/// A second in the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Second {
    seconds: i64,
    year: i16,
    /// From 1.
    month: i8,
    day: i8,
    hour: i8,
    minute: i8,
    second: i8,
    /// East of UTC, in seconds.
    offset: i32,
}

impl Second {
    fn of(seconds: i64, zone: &TimeZone) -> Self {
        let time = Timestamp::from_second(seconds).unwrap_or_default();
        let offset = zone.to_offset(time);
        let date = offset.to_datetime(time);
        Second {
            seconds,
            year: date.year(),
            month: date.month(),
            day: date.day(),
            hour: date.hour(),
            minute: date.minute(),
            second: date.second(),
            offset: offset.seconds(),
        }
    }

    fn month_name(self) -> &'static str {
        MONTHS[usize::from(self.month.unsigned_abs()) - 1]
    }

    /// Sign, hours and minutes of the offset.
    fn offset_parts(self) -> (char, u32, u32) {
        let minutes = self.offset.unsigned_abs() / 60;
        (if self.offset < 0 { '-' } else { '+' }, minutes / 60, minutes % 60)
    }
}

impl Dates {
    /// Dates in `zone`.
    pub fn new(zone: TimeZone) -> Self {
        let (local, utc) = (Second::of(0, &zone), Second::of(0, &TimeZone::UTC));
        Dates { zone, local, utc }
    }

    /// Dates in UTC only.
    pub fn utc() -> Self {
        Dates::new(TimeZone::UTC)
    }

    fn local(&mut self, us: i64) -> Second {
        let seconds = us.div_euclid(US_PER_SECOND);
        if self.local.seconds != seconds {
            self.local = Second::of(seconds, &self.zone);
        }
        self.local
    }

    fn in_utc(&mut self, us: i64) -> Second {
        let seconds = us.div_euclid(US_PER_SECOND);
        if self.utc.seconds != seconds {
            self.utc = Second::of(seconds, &TimeZone::UTC);
        }
        self.utc
    }

    /// `26/Nov/2026:16:08:50.814`, local
    pub fn with_milliseconds(&mut self, us: i64, out: &mut Vec<u8>) {
        let at = self.local(us);
        day_and_time(at, out);
        put(out, format_args!(".{:03}", milliseconds(us)));
    }

    /// `26/Nov/2026:16:08:50 +0000`, local
    pub fn with_offset(&mut self, us: i64, out: &mut Vec<u8>) {
        let at = self.local(us);
        day_and_time(at, out);
        let (sign, hours, minutes) = at.offset_parts();
        put(out, format_args!(" {sign}{hours:02}{minutes:02}"));
    }

    /// `26/Nov/2026:16:08:50 +0000`, UTC
    pub fn with_utc(&mut self, us: i64, out: &mut Vec<u8>) {
        let at = self.in_utc(us);
        day_and_time(at, out);
        put(out, format_args!(" +0000"));
    }

    /// `Nov 26 16:08:50`, local: RFC 3164, section 4.1.2
    pub fn rfc3164(&mut self, us: i64, out: &mut Vec<u8>) {
        let at = self.local(us);
        let (month, day) = (at.month_name(), at.day);
        put(out, format_args!("{month} {day:2} {:02}:{:02}:{:02}", at.hour, at.minute, at.second));
    }

    /// `2026-11-26T16:08:57.440972+00:00`, local: RFC 5424, section 6.2.3
    pub fn rfc5424(&mut self, us: i64, out: &mut Vec<u8>) {
        let at = self.local(us);
        let (sign, hours, minutes) = at.offset_parts();
        put(
            out,
            format_args!(
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}{sign}{hours:02}:{minutes:02}",
                at.year,
                at.month,
                at.day,
                at.hour,
                at.minute,
                at.second,
                us.rem_euclid(US_PER_SECOND)
            ),
        );
    }
}

/// Milliseconds of the second.
pub(super) fn milliseconds(us: i64) -> i64 {
    us.rem_euclid(US_PER_SECOND) / 1_000
}

fn day_and_time(at: Second, out: &mut Vec<u8>) {
    put(
        out,
        format_args!(
            "{:02}/{}/{:04}:{:02}:{:02}:{:02}",
            at.day,
            at.month_name(),
            at.year,
            at.hour,
            at.minute,
            at.second
        ),
    );
}

/// Appends text.
pub(super) fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector takes everything");
}
