//! The directory of a namespace: of other versions, emptied by somebody, and begun by many at once.

use super::*;

#[tokio::test]
async fn a_directory_of_a_newer_version_is_refused() {
    let scene = Scene::shared().await;
    let broker = scene.session().await;
    broker.declare(&queue("q"), None).await.unwrap();
    scene.behind.queue_purge(scene.name("directory").into(), QueuePurgeOptions::default()).await.unwrap();
    scene.put("directory", br#"{"format":9}"#, BasicProperties::default()).await;
    let url = format!("{}?namespace={}", scene.url, scene.namespace).parse().unwrap();
    let error = connect(&url).await.unwrap_err();
    assert_eq!((error.kind(), error.to_string().contains("format 9")), (ErrorKind::Incompatible, true));
    let put_back = async { while scene.count("directory").await == 0 {} };
    tokio::time::timeout(PATIENCE, put_back).await.expect("what was read is put back");
}

/// Versions that would take a task without headers for none of ours must not be beside one that sends such.
#[tokio::test]
async fn a_directory_of_an_older_version_is_upgraded_by_who_comes() {
    let scene = Scene::shared().await;
    let broker = scene.session().await;
    broker.declare(&queue("q"), None).await.unwrap();
    let stored = scene.get("directory").await.unwrap().delivery.data;
    let mut directory: serde_json::Value = serde_json::from_slice(&stored).unwrap();
    let format = directory["format"].take();
    directory["format"] = 2.into();
    scene.put("directory", directory.to_string().as_bytes(), BasicProperties::default()).await;
    let another = scene.session().await;
    assert!(another.status(&queue("q")).await.unwrap().is_some(), "nothing is forgotten");
    let upgraded = scene.get("directory").await.unwrap().delivery.data;
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&upgraded).unwrap()["format"], format);
}

/// Its message was taken out by somebody: whoever comes next fills it again, and those who know more say so.
#[tokio::test]
async fn a_directory_that_was_emptied_is_filled_again() {
    let scene = Scene::shared().await;
    let broker = scene.session().await;
    broker.declare(&queue("q"), None).await.unwrap();
    scene.behind.queue_purge(scene.name("directory").into(), QueuePurgeOptions::default()).await.unwrap();
    broker.declare(&queue("r"), None).await.unwrap();
    let another = scene.session().await;
    assert!(another.status(&queue("q")).await.unwrap().is_some(), "what was known is not forgotten");
}

/// Whoever comes first makes the directory, and those who come at the same moment find it.
#[tokio::test(flavor = "multi_thread")]
async fn many_sessions_begin_a_namespace_at_once() {
    for _ in 0..10 {
        let scene = Scene::shared().await;
        let url: manyhands_broker::BrokerUrl =
            format!("{}?namespace={}", scene.url, scene.namespace).parse().unwrap();
        let mut sessions = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let url = url.clone();
            sessions.spawn(async move { connect(&url).await });
        }
        let sessions = sessions.join_all().await;
        sessions.into_iter().for_each(|session| drop(session.unwrap()));
    }
}
