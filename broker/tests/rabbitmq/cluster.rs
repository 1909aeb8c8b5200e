//! Three nodes on this machine: one is killed, whichever it is, and work goes on.

use std::time::Instant;

use manyhands_test_support::servers::RabbitMqCluster;

use super::{load::Load, *};

/// Which nodes have a copy of each queue of the namespace that has several, as the server says.
fn members(cluster: &RabbitMqCluster, scene: &Scene) -> Vec<(String, usize)> {
    let said =
        cluster.nodes[0].ask(&["list_queues", "name", "type", "members", "--no-table-headers"]).unwrap();
    let ours = said.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix(&scene.name(""))?.split_once('\t')?;
        let members = rest.strip_prefix("quorum\t")?;
        Some((name.to_owned(), members.split(',').count()))
    });
    ours.collect()
}

/// The other two.
fn others(of: usize) -> [usize; 2] {
    [(of + 1) % 3, (of + 2) % 3]
}

#[expect(clippy::print_stdout, reason = "what is measured is the result")]
fn say(text: &str) {
    println!("{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_killed_and_work_goes_on() {
    let began = Instant::now();
    let mut cluster = RabbitMqCluster::start(3).unwrap();
    say(&format!("three nodes in {:.1?}", began.elapsed()));
    let scene = Scene::new_behind(cluster.url(), cluster.nodes[0].url()).await;
    let load = Load::start(&scene).await;
    load.progress(200).await;
    let copies = members(&cluster, &scene);
    assert!(copies.len() >= 3 && copies.iter().all(|(_, nodes)| *nodes == 3), "{copies:?}");
    let work = scene.name("work:q");
    let asking = scene.session().await;
    // Sessions lead to the first node of the URL: one is killed that has only a copy, then theirs, then the leader's.
    for round in 0..3 {
        let leader = cluster.leader(0, &work).unwrap();
        let victim = match round {
            0 => others(leader).into_iter().find(|node| *node != 0).unwrap(),
            1 => 0,
            _ => leader,
        };
        cluster.nodes[victim].kill().unwrap();
        let began = Instant::now();
        load.progress(50).await;
        say(&format!("node {victim} killed (leader {leader}): 50 tasks in {:.1?}", began.elapsed()));
        // Also that of the node where holders are counted.
        let counted = async { while asking.status(&queue("q")).await.is_err() {} };
        tokio::time::timeout(PATIENCE, counted).await.expect("it is told who holds tasks");
        cluster.nodes[victim].restart().unwrap();
        load.progress(100).await;
    }
    // One node of three is no majority: nothing is accepted, and nothing is forgotten.
    let kept = scene.session().await;
    let leader = cluster.leader(0, &work).unwrap();
    let lost = others(others(leader)[0]);
    lost.into_iter().for_each(|node| cluster.nodes[node].kill().unwrap());
    let refused = loop {
        match kept.enqueue(&[task("other")], None).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    say(&format!("two nodes killed: {}", refused.report()));
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    let report = refused.report();
    assert!(["too few of its nodes", "did not answer"].iter().any(|said| report.contains(said)), "{report}");
    std::thread::scope(|scope| {
        let lost: Vec<_> =
            cluster.nodes.iter_mut().enumerate().filter(|(node, _)| lost.contains(node)).collect();
        lost.into_iter().for_each(|(_, node)| drop(scope.spawn(|| node.restart().unwrap())));
    });
    let began = Instant::now();
    load.progress(50).await;
    say(&format!("they are back: 50 tasks in {:.1?}", began.elapsed()));
    let told = load.end().await;
    say(&format!(
        "{} accepted, {} lost, {} again, {:.1?} without a settlement, {:#?}",
        told.accepted.len(),
        told.lost(),
        told.again(),
        told.stood,
        told.errors
    ));
    assert_eq!(told.lost(), 0, "{:?}", told.errors);
}
