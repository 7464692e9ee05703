//! What agents say.
//!
//! In:    a line of words
//! Out:   what each of them asks for
//! Never: does it
//! Read:  docs/configuration.md, "Agents"

use crate::config::model::CheckStatus;

/// One of an agent's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentWord {
    /// `50%`, `weight:50%`: percent of the weight in the configuration.
    WeightPercent(u32),
    /// `weight:10`: a weight.
    Weight(u32),
    /// `maxconn:10`: the server's maxconn.
    Maxconn(u32),
    /// `ready`: an operator's wish for maintenance or draining is taken back.
    Ready,
    /// `drain`: no new streams.
    Drain,
    /// `maint`: maintenance.
    Maintenance,
}

/// What an agent says of its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentVerdict {
    /// Up or down.
    pub status: CheckStatus,
    /// The word for it, and what else it says, as HAProxy tells it.
    pub info: String,
}

/// The words of a line, and whether they say that the server is up or down. The first that is no word of an agent's
/// begins a text, as does a `#`.
pub fn agent_words(line: &str) -> (Vec<AgentWord>, Option<AgentVerdict>) {
    let line = line.split(['\r', '\n']).next().unwrap_or_default();
    let separators = [' ', '\t', ','];
    let mut rest = line.trim_start_matches(separators);
    let mut asked = Vec::new();
    let mut verdict = None;
    while !rest.is_empty() {
        let (word, after) = rest.split_once(separators).unwrap_or((rest, ""));
        let lower = word.to_ascii_lowercase();
        match (lower.as_str(), agent_word(&lower)) {
            ("up", _) => verdict = Some((CheckStatus::L7Ok, word)),
            ("down" | "stopped" | "fail", _) => verdict = Some((CheckStatus::L7Status, word)),
            (_, Some(other)) => asked.push(other),
            _ => break,
        }
        rest = after.trim_start_matches(separators);
    }
    let text = rest.trim_start_matches('#').trim();
    let verdict = verdict.map(|(status, word)| {
        let text = if text.is_empty() { String::new() } else { format!(" ({text})") };
        AgentVerdict { status, info: format!("via agent : {word}{text}") }
    });
    (asked, verdict)
}

fn agent_word(lower: &str) -> Option<AgentWord> {
    let number = |text: &str| text.parse::<u32>().ok();
    match lower {
        "ready" => return Some(AgentWord::Ready),
        "drain" => return Some(AgentWord::Drain),
        "maint" => return Some(AgentWord::Maintenance),
        _ => {}
    }
    if let Some(max) = lower.strip_prefix("maxconn:") {
        return number(max).map(AgentWord::Maxconn);
    }
    let weight = lower.strip_prefix("weight:");
    match weight.unwrap_or(lower).strip_suffix('%') {
        Some(percent) => number(percent).map(AgentWord::WeightPercent),
        None => weight.and_then(number).map(|weight| AgentWord::Weight(weight.min(256))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let verdict = |status, info: &str| Some(AgentVerdict { status, info: info.into() });
        let (asked, said) = agent_words("75% maxconn:30, ready up # all fine\r\nx");
        assert_eq!(asked, [AgentWord::WeightPercent(75), AgentWord::Maxconn(30), AgentWord::Ready]);
        assert_eq!(said, verdict(CheckStatus::L7Ok, "via agent : up (all fine)"));
        let (asked, said) = agent_words("stopped #maintenance at noon\n");
        assert!(asked.is_empty());
        assert_eq!(
            said,
            verdict(CheckStatus::L7Status, "via agent : stopped (maintenance at noon)")
        );
        assert_eq!(
            agent_words("down foo up").1,
            verdict(CheckStatus::L7Status, "via agent : down (foo up)")
        );
        assert_eq!(agent_words("stopped#at noon").1, None, "as with HAProxy");
        assert_eq!(agent_words("weight:50%").0, [AgentWord::WeightPercent(50)]);
        assert_eq!(agent_words("weight:999").0, [AgentWord::Weight(256)]);
        assert_eq!(agent_words("DRAIN").0, [AgentWord::Drain]);
        assert_eq!(agent_words("nonsense"), (vec![], None));
        assert_eq!(agent_words("50%"), (vec![AgentWord::WeightPercent(50)], None));
        assert_eq!(agent_words(""), (vec![], None));
    }
}
