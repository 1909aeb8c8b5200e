//! A session whose runtime has no time for it: handlers that compute where they should only wait.

use super::*;

/// Longer than any answer may take.
const BUSY: Duration = Duration::from_secs(6);

/// An answer that was there in time is taken, however late somebody looks: a claim that is thrown away holds its tasks until their leases are over.
#[test]
fn what_is_answered_while_the_runtime_is_busy_is_taken() {
    let server = Server(Redis::options().start().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let work = async move {
        let broker = server.session().await;
        enqueue(&*broker, &[task(9)]).await;
        // So that the answer comes when nobody looks. Not with the clock that tests can move: by that the pause lasts longer.
        server.say(&["CLIENT", "PAUSE", "500"]).await;
        let claim = tokio::spawn(async move { broker.claim(&Claim::new(queue(), 1)).await });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "a runtime that does nothing meanwhile is what is tried"
        )]
        std::thread::sleep(BUSY);
        let claimed = claim.await.unwrap();
        assert_eq!(claimed.unwrap().tasks.len(), 1);
    };
    runtime.block_on(async { tokio::spawn(work).await }).unwrap();
}
