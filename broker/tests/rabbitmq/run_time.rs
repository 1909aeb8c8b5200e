//! How long a run may take: a server before 3.12 bounds it, and tells nobody its `consumer_timeout`.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// A session that was told so of the server.
async fn told(scene: &Scene, said: &str) -> Arc<dyn Broker> {
    let url = format!("{}?namespace={}{said}", scene.url, scene.namespace);
    connect(&url.parse().unwrap()).await.unwrap()
}

#[tokio::test]
async fn how_long_a_task_may_run_is_told() {
    let scene = Scene::shared().await;
    for (said, minutes) in [("", 24), ("&consumer_timeout=1h", 48)] {
        let longest = told(&scene, said).await.max_run().await.unwrap();
        assert_eq!(longest, bounds_runs().then_some(minutes * MINUTE));
    }
}

#[tokio::test]
async fn a_longer_run_limit_is_refused_where_the_task_is_sent() {
    let scene = Scene::shared().await;
    let longer = || task("q").with_run_limit(30 * MINUTE);
    let broker = told(&scene, "").await;
    if !bounds_runs() {
        assert_eq!(broker.enqueue(&[longer()], None).await.unwrap(), [Enqueued::Enqueued]);
        return;
    }
    let error = broker.enqueue(&[task("q"), longer()], None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let (message, advice) = (error.to_string(), error.advice().unwrap());
    assert!(
        message.contains("for queue \"q\" has a run_limit of 30m, and a run of 24m is the longest"),
        "{message}"
    );
    assert!(advice.contains("24m at most") && advice.contains("?consumer_timeout="), "{advice}");
    assert!(scene.lacks("work:q").await, "nothing is made for it, nor for what came with it");
    // Whoever raised the server's time, and says so, may.
    let raised = told(&scene, "&consumer_timeout=1h").await;
    assert_eq!(raised.enqueue(&[longer()], None).await.unwrap(), [Enqueued::Enqueued]);
    assert_eq!(scene.count("work:q").await, 1);
}

/// What is handed on is refused with the settlement, which changes nothing: the lease is there for another end.
#[tokio::test]
async fn a_child_with_a_longer_run_limit_is_refused_with_the_settlement() {
    let scene = Scene::shared().await;
    let broker = told(&scene, "").await;
    broker.enqueue(&[task("q")], None).await.unwrap();
    let held = claim(&*broker, "q").await.remove(0);
    let children = vec![task("next"), task("next").with_run_limit(30 * MINUTE)];
    let settlement = Settlement::new(held.lease.clone(), End::complete(children));
    if !bounds_runs() {
        assert_eq!(settle(&*broker, &[settlement]).await, Ok(vec![Settled::Settled]));
        assert_eq!(scene.count("work:next").await, 2);
        return;
    }
    assert_eq!(settle(&*broker, &[settlement]).await, Err(ErrorKind::Unsupported));
    assert!(scene.lacks("work:next").await, "nothing is made for the children");
    let buried = Settlement::new(held.lease, End::Bury { error: "refused".to_owned() });
    assert_eq!(settle(&*broker, &[buried]).await, Ok(vec![Settled::Settled]));
}
