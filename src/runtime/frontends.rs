//! Commands about frontends, and about limits of the process.
//!
//! In:    the name of a frontend, or of a limit
//! Out:   new limits, and words to those who wait; orders to the workers
//! Never: cuts a connection that is established

use super::Runtime;
use super::commands::Call;
use crate::config::model::ProxyIndex;
use crate::shared::FrontendState;
use crate::worker::Command;

type Answer = Result<String, String>;

fn named(call: &Call<'_, '_>) -> Result<ProxyIndex, String> {
    let name = call.argument(0).ok_or("A frontend name is expected.\n")?;
    call.session.runtime.frontend(name).ok_or_else(|| "No such frontend.\n".to_string())
}

impl Runtime {
    /// Takes connections of a frontend, or no more.
    fn set_frontend(&self, frontend: ProxyIndex, state: FrontendState) {
        self.shared.frontend(frontend).set_state(state);
        self.tell_all(|| Command::SetFrontend(frontend, state));
    }

    /// Forgets what was greatest; `all`: and what was counted.
    pub(super) fn clear_counters(&self, all: bool) {
        self.tell_all(|| Command::ClearCounters(all));
        self.shared.clear(all);
        self.plans.iter().for_each(|plan| plan.limit.clear_peak());
    }
}

/// `enable frontend <frontend>`
pub fn enable(call: &mut Call<'_, '_>) -> Answer {
    let frontend = named(call)?;
    let runtime = &*call.session.runtime;
    match runtime.shared.frontend(frontend).state() {
        FrontendState::Stopped => Err("Frontend was previously shut down, cannot enable.\n".into()),
        FrontendState::Open => Err("All sockets are already enabled.\n".into()),
        FrontendState::Paused => {
            runtime.set_frontend(frontend, FrontendState::Open);
            Ok(String::new())
        }
    }
}

/// `disable frontend <frontend>`
pub fn disable(call: &mut Call<'_, '_>) -> Answer {
    let frontend = named(call)?;
    let runtime = &*call.session.runtime;
    match runtime.shared.frontend(frontend).state() {
        FrontendState::Stopped => {
            Err("Frontend was previously shut down, cannot disable.\n".into())
        }
        FrontendState::Paused => Err("All sockets are already disabled.\n".into()),
        FrontendState::Open => {
            runtime.set_frontend(frontend, FrontendState::Paused);
            Ok(String::new())
        }
    }
}

/// `shutdown frontend <frontend>`
pub fn shutdown(call: &mut Call<'_, '_>) -> Answer {
    let frontend = named(call)?;
    let runtime = &*call.session.runtime;
    if runtime.shared.frontend(frontend).state() == FrontendState::Stopped {
        return Err("Frontend was already shut down.\n".into());
    }
    runtime.set_frontend(frontend, FrontendState::Stopped);
    Ok(String::new())
}

fn number(word: Option<&str>, expected: &str) -> Result<u32, String> {
    let word = word.ok_or(expected)?;
    let number: i64 = word.parse().map_err(|_| expected.to_string())?;
    u32::try_from(number).map_err(|_| "Value out of range.\n".to_string())
}

/// `set maxconn frontend <frontend> <value>`
pub fn set_maxconn(call: &mut Call<'_, '_>) -> Answer {
    let frontend = named(call)?;
    let most = number(call.argument(1), "Integer value expected.\n")?;
    let runtime = &*call.session.runtime;
    runtime.shared.frontend(frontend).connections.set_max(most);
    runtime.announce_room();
    Ok(String::new())
}

/// `set maxconn global <value>`
pub fn set_maxconn_global(call: &mut Call<'_, '_>) -> Answer {
    let most = number(call.argument(0), "Expects an integer value.\n")?;
    let runtime = &*call.session.runtime;
    // 0 is HAProxy's way back to what it was at the start.
    let at_start = runtime.config.global.maxconn.unwrap_or(crate::config::model::MAXCONN_DEFAULT);
    runtime.shared.global.set_max(if most == 0 { at_start } else { most });
    runtime.announce_room();
    Ok(String::new())
}

/// `set rate-limit connections|sessions global <value>`
pub fn set_rate_limit(call: &mut Call<'_, '_>) -> Answer {
    const SUPPORTED: &str = "'set rate-limit' only supports :\n   \
        - 'connections global' to set the per-process maximum connection rate\n   \
        - 'sessions global' to set the per-process maximum session rate\n";
    let runtime = &*call.session.runtime;
    let limit = match (call.argument(0), call.argument(1)) {
        (Some("connections"), Some("global")) => &runtime.shared.connection_rate,
        (Some("sessions"), Some("global")) => &runtime.shared.session_rate,
        _ => return Err(SUPPORTED.into()),
    };
    limit.set_limit(number(call.argument(2), "Expects an integer value.\n")?);
    runtime.announce_room();
    Ok(String::new())
}
