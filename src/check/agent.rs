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

/// The words of a line, whether they say that the server is up (`None`: nothing of that), and the text behind `#`.
pub fn agent_words(line: &str) -> (Vec<AgentWord>, Option<CheckStatus>, String) {
    let line = line.split(['\r', '\n']).next().unwrap_or_default();
    let (words, text) = line.split_once('#').unwrap_or((line, ""));
    let mut asked = Vec::new();
    let mut status = None;
    for word in words.split([' ', '\t', ',']).filter(|word| !word.is_empty()) {
        let lower = word.to_ascii_lowercase();
        let number = |text: &str| text.parse::<u32>().ok();
        match lower.as_str() {
            "up" => status = Some(CheckStatus::L7Ok),
            "down" | "stopped" | "fail" => status = Some(CheckStatus::L7Status),
            "ready" => asked.push(AgentWord::Ready),
            "drain" => asked.push(AgentWord::Drain),
            "maint" => asked.push(AgentWord::Maintenance),
            lower => {
                let value = lower.strip_prefix("weight:").unwrap_or(lower);
                if let Some(percent) = value.strip_suffix('%').and_then(number) {
                    asked.push(AgentWord::WeightPercent(percent));
                } else if let Some(weight) = lower.strip_prefix("weight:").and_then(number) {
                    asked.push(AgentWord::Weight(weight.min(256)));
                } else if let Some(max) = lower.strip_prefix("maxconn:").and_then(number) {
                    asked.push(AgentWord::Maxconn(max));
                }
            }
        }
    }
    // A weight alone says that the agent is there, and so is the server.
    let is_alive = !asked.is_empty();
    (asked, status.or(is_alive.then_some(CheckStatus::L7Ok)), text.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let (asked, status, text) = agent_words("75% maxconn:30, ready up # all fine\r\nx");
        assert_eq!(asked, [AgentWord::WeightPercent(75), AgentWord::Maxconn(30), AgentWord::Ready]);
        assert_eq!((status, text.as_str()), (Some(CheckStatus::L7Ok), "all fine"));
        let (asked, status, text) = agent_words("stopped#maintenance at noon\n");
        assert_eq!((asked.len(), status), (0, Some(CheckStatus::L7Status)));
        assert_eq!(text, "maintenance at noon");
        assert_eq!(agent_words("weight:50%").0, [AgentWord::WeightPercent(50)]);
        assert_eq!(agent_words("weight:999").0, [AgentWord::Weight(256)]);
        assert_eq!(agent_words("DRAIN").0, [AgentWord::Drain]);
        assert_eq!(agent_words("nonsense"), (vec![], None, String::new()));
        assert_eq!(agent_words(""), (vec![], None, String::new()));
    }
}
