//! Commands about the configuration as a whole.
//!
//! In:    nothing but the wish
//! Out:   what has changed, in lines; or why nothing has
//! Never: reads a file itself: the control thread does, as for SIGUSR2

use super::RELOAD_MAX;
use super::commands::Call;
use crate::control::Question;

type Answer = Result<String, String>;

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
