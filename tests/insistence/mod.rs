//! Calls that are made until the broker answers them, and what is known of one that failed: for programs that keep ledgers.

use std::time::Duration;

use manyhands::Error;
use manyhands_test_support::ledger::Outcome;

/// How long until a call is repeated that had no answer.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

/// Repeats a call while it may succeed later.
pub(crate) async fn insist<T>(mut call: impl AsyncFnMut() -> Result<T, Error>) -> T {
    loop {
        match call().await {
            Ok(answer) => return answer,
            // Nothing tells when a broker answers again.
            Err(error) if error.is_retryable() => tokio::time::sleep(PAUSE).await,
            Err(error) => panic!("{}", error.report()),
        }
    }
}

/// What is known of a task that was sent.
pub(crate) fn outcome<T>(sent: &Result<T, Error>) -> Outcome {
    match sent {
        Ok(_) => Outcome::Confirmed,
        Err(error) if error.is_retryable() => Outcome::Unknown,
        Err(_) => Outcome::Refused,
    }
}
