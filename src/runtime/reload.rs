//! Commands about the configuration: as a whole, and of single servers.
//!
//! In:    the wish; the words of a server
//! Out:   what has changed, in lines; or why nothing has
//! Never: reads a file itself: the control thread does, as for SIGUSR2

use super::RELOAD_MAX;
use super::commands::Call;
use crate::control::Question;

type Answer = Result<String, String>;

/// `add server <backend>/<server> <address>[:<port>] [<words>]`
pub fn add_server(call: &mut Call<'_, '_>) -> Answer {
    let runtime = &*call.session.runtime;
    let name = call.argument(0).and_then(|name| name.split_once('/'));
    let (backend, name) = name.ok_or("Require 'backend/server'.\n")?;
    let backend = runtime.backend(backend).ok_or("No such backend.\n")?;
    let words: Vec<String> = call.arguments[1..].iter().map(|word| (*word).to_owned()).collect();
    let question = |to| Question::AddServer(backend, name.to_owned(), words, to);
    let answer = runtime.ask_control_for(RELOAD_MAX, question);
    answer.unwrap_or_else(|| Err(BUSY.into()))
}

/// `del server <backend>/<server>`
pub fn del_server(call: &mut Call<'_, '_>) -> Answer {
    let runtime = &*call.session.runtime;
    let id = runtime.server(call.argument(0))?;
    let answer = runtime.ask_control_for(RELOAD_MAX, |to| Question::DelServer(id, to));
    answer.unwrap_or_else(|| Err(BUSY.into()))
}

const BUSY: &str = "xlb is busy: look into its log for what has come of it.\n";

/// `reload`
pub fn reload(call: &mut Call<'_, '_>) -> Answer {
    let answer = call.session.runtime.ask_control_for(RELOAD_MAX, Question::Reload);
    answer.unwrap_or_else(|| Err(BUSY.into()))
}

/// `reload check`
pub fn check(call: &mut Call<'_, '_>) -> Answer {
    let answer = call.session.runtime.ask_control_for(RELOAD_MAX, Question::Preview);
    answer.unwrap_or_else(|| Err(BUSY.into()))
}
