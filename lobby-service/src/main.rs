//! The lobby service as a process, with a relay in it. `lobby-service --help` names all choices.

use std::io::Write;
use std::process::ExitCode;

use lobby_service::arguments::{Arguments, Settings, Task, Unreadable};
use lobby_service::{Running, admin, arguments, auth, http, logging, probe};

/// What ends a process whose options cannot be used.
const UNUSABLE: u8 = 2;

fn main() -> ExitCode {
    let settings = match Settings::read(std::env::args_os()) {
        Ok(settings) => settings,
        // Help and the version end here too.
        Err(Unreadable::Given(error)) => error.exit(),
        Err(error) => {
            complain(&error);
            return UNUSABLE.into();
        }
    };
    if settings.arguments.task() == Task::CheckConfig {
        return check(&settings);
    }
    match run(&settings.arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&*error);
            ExitCode::FAILURE
        }
    }
}

/// The log may not be there yet. If nobody reads the errors either, nobody can be told.
fn complain(error: &dyn std::error::Error) {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    let _ = writeln!(std::io::stderr(), "lobby-service: {text}");
}

fn check(settings: &Settings) -> ExitCode {
    if let Err(error) = settings.describe(std::io::stdout()) {
        complain(&error);
        return ExitCode::FAILURE;
    }
    let problems = settings.arguments.problems();
    problems.iter().for_each(|problem| complain(problem));
    if problems.is_empty() { ExitCode::SUCCESS } else { UNUSABLE.into() }
}

fn run(choices: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let print = |text: String| writeln!(std::io::stdout(), "{}", text.trim_end());
    match choices.task() {
        Task::PrintOpenApi => return Ok(print(http::description().to_pretty_json()?)?),
        Task::PrintAdminOpenApi => return Ok(print(admin::description().to_pretty_json()?)?),
        Task::PrintExampleConfig => return Ok(print(arguments::example())?),
        Task::RotateKey => {
            let (file, wait) = choices.rotate_key()?;
            return Ok(print(format!("{} is the next signing key; it signs in {} s", file.display(), wait.as_secs()))?);
        }
        Task::Probe => {
            let admin = choices.config()?.operating.admin_listen;
            return Ok(tokio::runtime::Runtime::new()?.block_on(probe::probe(admin))?);
        }
        Task::Serve | Task::Migrate | Task::CheckConfig => {}
    }
    logging::start(choices.log_filter()?, choices.log_format())?;
    auth::install_provider();
    let config = choices.config()?;
    tokio::runtime::Runtime::new()?.block_on(async {
        if choices.task() == Task::Migrate {
            return Ok(lobby_service::migrate(&config).await?);
        }
        let scheme = config.listener.scheme();
        let running = lobby_service::start(config).await?;
        announce(&running, scheme)?;
        until_told_to_stop().await?;
        tracing::info!("stopping");
        running.stop().await;
        Ok(())
    })
}

/// One line for programs that started us on port 0.
fn announce(running: &Running, scheme: &str) -> std::io::Result<()> {
    let admin = running.admin.map(|address| format!(" admin={address}")).unwrap_or_default();
    let relay = running.relay.map(|address| format!(" relay={address}")).unwrap_or_default();
    let mut stdout = std::io::stdout();
    writeln!(stdout, "lobby-service: listening http={}{relay}{admin}", running.http)?;
    stdout.flush()?;
    tracing::info!("the API's documentation is at {scheme}://{}/docs/", running.http);
    Ok(())
}

#[cfg(unix)]
async fn until_told_to_stop() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn until_told_to_stop() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
