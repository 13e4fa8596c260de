//! The suite over every kind of Redis. Starting a cluster takes its time, so one test has all of the
//! suite, side by side: each part with two instances and keys of its own.

use p2p_cluster::{Cluster, Redis, Sentinels, certificate};
use p2p_registry::{RedisRegistry, RedisSettings};
use tokio::task::JoinSet;

use crate::several::Several;
use crate::{Registry as _, RegistryError, conformance, settings};

macro_rules! all_of {
    ($($name:ident),* $(,)?) => {
        async fn conforms(redis: RedisSettings) {
            let mut parts = JoinSet::new();
            $({
                let redis = redis.clone();
                parts.spawn(async move {
                    let part = tokio::spawn(async move {
                        let name = stringify!($name);
                        let several = Several::start_under(2, redis, &settings(), name).await;
                        conformance::$name(&several, &settings()).await;
                    });
                    part.await.err().map(|_| stringify!($name))
                });
            })*
            let broken: Vec<_> = parts.join_all().await.into_iter().flatten().collect();
            assert!(broken.is_empty(), "broken over {redis:?}: {broken:#?}");
        }
    };
}

conformance::suite!(all_of);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_holds_over_tls() {
    let redis = Redis::start_tls().await.unwrap();
    conforms(redis.settings()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_holds_behind_sentinel() {
    let sentinels = Sentinels::start(1).await.unwrap();
    conforms(sentinels.settings()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_holds_over_a_cluster() {
    let cluster = Cluster::start(false).await.unwrap();
    conforms(cluster.settings()).await;
}

#[tokio::test]
async fn a_redis_that_another_authority_vouches_for_is_refused_and_it_is_said() {
    let redis = Redis::start_tls().await.unwrap();
    let url = redis.url().replace("ca_file=", "ca_file=&ignored=");
    assert!(p2p_redis::Redis::open(&url).is_err(), "a parameter that is none");
    let (own, another) = (certificate("one.crt"), certificate("two.crt"));
    let url = redis.url().replacen(&own, &another, 1);
    let why = trouble_with(url).await;
    assert!(why.contains("certificate"), "{why}");
}

#[tokio::test]
async fn a_client_without_the_certificate_that_redis_asks_for_is_told() {
    let redis = Redis::start_tls().await.unwrap();
    let (url, _) =
        redis.url().split_once("&cert_file").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let why = trouble_with(url).await;
    assert!(why.to_lowercase().contains("certificate"), "{why}");
}

/// What a registry says that cannot connect.
async fn trouble_with(url: String) -> String {
    let registry = RedisRegistry::start(settings(), RedisSettings::new(url)).unwrap();
    let waiting = async {
        loop {
            match registry.trouble() {
                Some(why) if why != "connecting" => return why,
                Some(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                None => panic!("it is connected"),
            }
        }
    };
    let why = tokio::time::timeout(std::time::Duration::from_secs(20), waiting).await.unwrap();
    let refused = registry.caught_up().await.unwrap_err();
    assert!(matches!(refused, RegistryError::Unavailable(_)));
    why
}
