//! A Redis Cluster: each namespace on the server that has its slot, wherever that goes.

use manyhands_test_support::{Authority, servers::Cluster};

use super::{
    load::{Load, Told},
    *,
};

/// Namespaces, each on another one of three servers, in their order.
const NAMESPACES: [&str; 3] = ["mh", "films", "books"];

fn url(cluster: &Cluster, namespace: &str) -> String {
    format!("{}?namespace={namespace}", cluster.url())
}

async fn open(url: &str) -> manyhands_broker::Result<Arc<dyn Broker>> {
    connect(&url.parse().unwrap()).await
}

/// Says something to a server that is not refused.
fn say(server: &Redis, line: &str) -> String {
    let answer = server.say(line).unwrap();
    assert!(!answer.starts_with('-'), "{line}: {answer}");
    answer
}

/// The slot of a namespace.
fn slot(server: &Redis, namespace: &str) -> u16 {
    let answer = say(server, &format!("CLUSTER KEYSLOT mh:{{{namespace}}}"));
    answer.trim_start_matches(':').lines().next().unwrap().parse().unwrap()
}

/// A slot on its way from one server to another, by the steps of `redis-cli --cluster reshard`.
struct Move<'a> {
    cluster: &'a Cluster,
    slot: u16,
    from: usize,
    to: usize,
}

impl Move<'_> {
    /// From now on who asks for a key that is not there is sent to the other server.
    fn begin(&self) {
        let Self { cluster, slot, from, to } = *self;
        let (source, target) = (cluster.id(from).unwrap(), cluster.id(to).unwrap());
        say(&cluster.servers[to], &format!("CLUSTER SETSLOT {slot} IMPORTING {source}"));
        say(&cluster.servers[from], &format!("CLUSTER SETSLOT {slot} MIGRATING {target}"));
    }

    /// Moves this many keys at most, and says how many.
    fn keys(&self, most: usize) -> usize {
        let source = &self.cluster.servers[self.from];
        let told = say(source, &format!("CLUSTER GETKEYSINSLOT {} {most}", self.slot));
        let keys: Vec<_> = told.lines().filter(|line| line.starts_with("mh:")).collect();
        if !keys.is_empty() {
            let port = self.cluster.servers[self.to].port();
            say(source, &format!("MIGRATE 127.0.0.1 {port} \"\" 0 20000 KEYS {}", keys.join(" ")));
        }
        keys.len()
    }

    /// The other server has the slot.
    fn end(&self) {
        let target = self.cluster.id(self.to).unwrap();
        for at in [self.to, self.from] {
            say(&self.cluster.servers[at], &format!("CLUSTER SETSLOT {} NODE {target}", self.slot));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_moves_to_another_server_while_it_is_used() {
    let cluster = Cluster::start(3).unwrap();
    let mut loads = Vec::new();
    for namespace in NAMESPACES {
        loads.push(Load::start(&url(&cluster, namespace)).await);
    }
    for load in &loads {
        load.progress(100).await;
    }
    for (at, namespace) in NAMESPACES.iter().enumerate() {
        let size = say(&cluster.servers[at], "DBSIZE");
        assert_ne!(size, ":0\r\n", "{namespace} is not on the server of its slot");
    }
    let slot = slot(&cluster.servers[0], "films");
    for (from, to) in [(1, 0), (0, 2)] {
        let on_its_way = Move { cluster: &cluster, slot, from, to };
        on_its_way.begin();
        assert!(on_its_way.keys(3) > 0);
        // What a script needs that is here in part is nowhere as a whole, so nobody can do anything by halves.
        for at in [from, to] {
            let torn =
                cluster.servers[at].say("EVAL \"return 1\" 2 mh:{films}:body:q mh:{films}:held:q").unwrap();
            assert!(["-TRYAGAIN", "-ASK", "-MOVED"].iter().any(|said| torn.starts_with(said)), "{torn}");
        }
        loads[0].progress(50).await;
        loads[2].progress(50).await;
        while on_its_way.keys(100) > 0 {}
        on_its_way.end();
        loads[1].progress(200).await;
    }
    for (load, generations) in loads.into_iter().zip([1, 3, 1]) {
        let told = load.end().await;
        told.check();
        assert_eq!(told.generations(), generations, "a generation a server");
        assert_eq!((told.unsettled(), told.again()), (0, 0), "nothing is lost, and nothing doubled");
        assert!(told.errors.keys().all(|error| !error.contains("nothing was done")), "{:?}", told.errors);
    }
    for namespace in NAMESPACES {
        let broker = open(&url(&cluster, namespace)).await.unwrap();
        assert_eq!(broker.queues(None, 9).await.unwrap(), [queue()]);
        assert!(broker.fsck().unwrap().fsck(false).await.unwrap().is_clean());
    }
}

/// On order it waits until it has everything. Otherwise it has what was copied to it, and epochs rise, as some may not have been.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_takes_the_place_of_a_server_of_a_cluster() {
    let options = Redis::options().with("cluster-node-timeout", 2000).with("repl-diskless-sync-delay", 0);
    let mut cluster = Cluster::start_with(3, &options).unwrap();
    cluster.add_replica(1).unwrap();
    let load = Load::start(&url(&cluster, "films")).await;
    load.progress(200).await;
    say(&cluster.servers[3], "CLUSTER FAILOVER");
    load.beyond(1).await;
    load.progress(200).await;
    let told = load.end().await;
    told.check();
    assert_eq!((told.generations(), told.unsettled()), (2, 0), "{:?}", told.errors);
    // The one that had the namespace follows the one that has it now.
    cluster.follows(1).unwrap();
    let load = Load::start(&url(&cluster, "films")).await;
    load.progress(200).await;
    cluster.servers[3].kill().unwrap();
    load.beyond(1).await;
    load.progress(200).await;
    let told = load.end().await;
    told.check();
    assert_eq!(told.generations(), 2, "{:?}", told.errors);
    report(&told);
}

#[expect(clippy::print_stdout, reason = "what is measured is the result")]
fn report(told: &Told) {
    let lost = told.lost().len();
    println!(
        "killed in a cluster: of {} tasks {lost} lost; {:?} without a server",
        told.accepted.len(),
        told.stood
    );
}

#[tokio::test]
async fn everything_is_found_on_the_one_server_that_has_the_namespace() {
    let cluster = Cluster::start(3).unwrap();
    // The first one that is asked is gone, and the second one has only names of others.
    let ports = [1, cluster.servers[0].port()];
    let url = format!("redis://127.0.0.1:{},127.0.0.1:{}?namespace=films", ports[0], ports[1]);
    let (broker, other) = (open(&url).await.unwrap(), open(&url).await.unwrap());
    let hint = broker.wait(&[queue()]);
    enqueue(&*other, &[task(9), task(9)]).await;
    tokio::time::timeout(Duration::from_secs(20), hint).await.expect("what is enqueued is told");
    let mut claimed = broker.claim(&Claim::new(queue(), 2)).await.unwrap().tasks;
    assert_eq!(claimed.len(), 2);
    let holders = other.lookup().unwrap().holders(&[broker.incarnation()]).await.unwrap();
    assert!(holders[0].is_some(), "who holds tasks is connected to the same server");
    let ends = [End::complete(vec![task(9)]), End::Bury { error: "no".to_owned() }];
    let ends: Vec<_> = ends.into_iter().map(|end| Settlement::new(claimed.remove(0).lease, end)).collect();
    assert_eq!(broker.settle(&ends).await.unwrap(), [Settled::Settled; 2]);
    assert_eq!(other.queues(None, 9).await.unwrap(), [queue()]);
    assert_eq!(other.dead_letters().unwrap().list(&queue(), None, 9).await.unwrap().len(), 1);
    assert!(other.fsck().unwrap().fsck(true).await.unwrap().is_clean());
    let checks = other.doctor().unwrap().examine().await.unwrap();
    let check = checks.iter().find(|check| check.what == "cluster").unwrap();
    let server = format!("127.0.0.1:{}", cluster.servers[1].port());
    assert!(check.verdict == Verdict::Ok && check.found.contains(&server), "{check:?}");
    assert!(checks.iter().any(|check| check.what == "calls" && check.verdict == Verdict::Ok), "{checks:?}");
}

#[tokio::test]
async fn the_servers_of_a_cluster_encrypt() {
    let ours = Authority::new().unwrap();
    let [cert, key] = ours.sign("127.0.0.1").unwrap();
    let options = Redis::options().tls(&ours.file("ca.pem"), &cert, &key);
    let options = options.with("tls-auth-clients", "no").with("tls-cluster", "yes");
    let cluster = Cluster::start_with(3, &options).unwrap();
    for namespace in NAMESPACES {
        let port = cluster.servers[0].tls_port().unwrap();
        let ca = ours.file("ca.pem");
        let url = format!("rediss://127.0.0.1:{port}?namespace={namespace}&ca={}", ca.display());
        enqueue(&*open(&url).await.unwrap(), &[task(9)]).await;
    }
    assert!(cluster.servers.iter().all(|server| say(server, "DBSIZE") != ":0\r\n"));
}

#[tokio::test]
async fn a_cluster_that_cannot_be_used_says_why() {
    let cluster = Cluster::start(1).unwrap();
    let server = &cluster.servers[0];
    let error = open(&format!("redis://127.0.0.1:{}/1", server.port())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("no database"), "{}", error.report());
    let broker = open(&cluster.url()).await.unwrap();
    enqueue(&*broker, &[task(9)]).await;
    let slot = slot(server, "mh");
    say(server, &format!("CLUSTER DELSLOTS {slot}"));
    let refused = |error: manyhands_broker::Error, part: &str| {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains(part) && error.advice().is_some(), "{}", error.report());
    };
    refused(broker.claim(&Claim::new(queue(), 1)).await.unwrap_err(), "takes no calls");
    refused(open(&cluster.url()).await.unwrap_err(), &format!("has the slot {slot}"));
    say(server, &format!("CLUSTER ADDSLOTS {slot}"));
    let claimed = broker.claim(&Claim::new(queue(), 1)).await.unwrap().tasks;
    assert_eq!(claimed.len(), 1, "a call waits until the cluster takes calls again");
    say(server, "CONFIG SET requirepass sesame");
    let error = open(&cluster.url()).await.unwrap_err();
    refused(error, "wants a password");
    let with = open(&cluster.url().replace("redis://", "redis://:sesame@")).await.unwrap();
    assert_eq!(with.status(&queue()).await.unwrap().unwrap().leased, 1);
}
