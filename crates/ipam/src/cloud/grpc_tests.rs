use super::*;
use crate::cloud::fake::{Call, FakeProvider, Mood};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

async fn provider() -> (FakeProvider, GrpcProvider) {
    let fake = FakeProvider::start().await.unwrap();
    let client = GrpcProvider::new(&fake.address(), Arc::new(Metrics::new())).unwrap();
    (fake, client)
}

#[tokio::test]
async fn assigns_and_unassigns() {
    let (fake, client) = provider().await;
    client.assign("worker-3", ip("10.20.5.17")).await.unwrap();
    client.assign("worker-3", ip("2001:db8::1")).await.unwrap();
    assert_eq!(fake.routes().len(), 2);
    client.unassign("worker-9", ip("10.20.5.17")).await.unwrap();
    assert_eq!(fake.routes().get(&ip("10.20.5.17")).map(String::as_str), Some("worker-3"), "other node: nothing to do");
    client.unassign("worker-3", ip("10.20.5.17")).await.unwrap();
    assert_eq!(fake.routes().into_keys().collect::<Vec<_>>(), [ip("2001:db8::1")]);
    let first = Call { assign: true, node: "worker-3".to_owned(), ip: "10.20.5.17".to_owned() };
    assert_eq!(fake.calls().first(), Some(&first));

    let scrape = client.metrics.encode(crate::metrics::Format::Text, &crate::metrics::Snapshot::default());
    assert!(scrape.contains("galaxy_cloud_provider_latency_count{func=\"assign\"} 2"), "{scrape}");
    assert!(scrape.contains("galaxy_cloud_provider_latency_count{func=\"unassign\"} 2"), "{scrape}");
}

#[tokio::test]
async fn failures_say_what_and_why() {
    let (fake, client) = provider().await;
    fake.on_assign(Mood::Refuse("no free ENI".to_owned()));
    let error = client.assign("worker-3", ip("10.20.5.17")).await.unwrap_err();
    assert_eq!(error.to_string(), "the cloud provider refused to assign 10.20.5.17 on node worker-3: no free ENI");
    fake.on_assign(Mood::Refuse(String::new()));
    let error = client.assign("worker-3", ip("10.20.5.17")).await.unwrap_err();
    assert!(error.to_string().ends_with("it gave no reason"), "{error}");
    fake.on_unassign(Mood::Break("maintenance".to_owned()));
    let error = client.unassign("worker-3", ip("10.20.5.17")).await.unwrap_err();
    assert!(matches!(&error, CloudError::Unanswered { call: "unassign", .. }), "{error:?}");
    assert!(error.to_string().contains("maintenance"), "{error}");
    fake.on_assign(Mood::DoAndBreak);
    client.assign("worker-3", ip("10.20.5.17")).await.unwrap_err();
    assert_eq!(fake.routes().len(), 1, "done although no answer came");
    let scrape = client.metrics.encode(crate::metrics::Format::Text, &crate::metrics::Snapshot::default());
    assert!(scrape.contains("galaxy_cloud_provider_latency_count{func=\"assign\"} 3"), "failures count: {scrape}");
}

#[tokio::test]
async fn a_stalled_call_runs_into_its_deadline_and_others_pass() {
    let (fake, client) = provider().await;
    fake.on_assign(Mood::Stall);
    let impatient = client.clone().with_deadline(Duration::from_millis(50));
    let error = impatient.assign("worker-3", ip("10.20.5.17")).await.unwrap_err();
    assert!(error.to_string().contains("no answer within 50ms"), "{error}");

    let patient = tokio::spawn({
        let client = client.clone();
        async move { client.assign("worker-4", ip("10.20.5.18")).await }
    });
    fake.arrived(2).await;
    client.unassign("worker-3", ip("10.20.5.19")).await.unwrap();
    assert!(!patient.is_finished(), "the stalled call does not hold up others on the connection");
    fake.on_assign(Mood::Obey);
    patient.await.unwrap().unwrap();
    assert_eq!(fake.routes().get(&ip("10.20.5.18")).map(String::as_str), Some("worker-4"));
}

#[tokio::test]
async fn nothing_is_dialled_before_the_first_call_and_a_broken_connection_is_made_again() {
    let fake = FakeProvider::start().await.unwrap();
    let address = fake.address();
    let client = GrpcProvider::new(&address, Arc::new(Metrics::new())).unwrap();
    drop(fake);
    let error = client.assign("worker-3", ip("10.20.5.17")).await.unwrap_err();
    assert!(error.to_string().contains("10.20.5.17 on node worker-3: Unavailable"), "{error}");
    assert!(error.to_string().to_lowercase().contains("refused"), "{error}");
    let fake = FakeProvider::restart(&address).await.unwrap();
    client.assign("worker-3", ip("10.20.5.17")).await.unwrap();
    assert_eq!(fake.calls().len(), 1);
}

#[tokio::test]
async fn addresses_of_providers() {
    for good in ["provider:9090", "127.0.0.1:9090", "[::1]:9090", "provider.cloud.svc:80"] {
        assert!(GrpcProvider::new(good, Arc::new(Metrics::new())).is_ok(), "{good}");
    }
    for bad in
        ["", "provider", "provider:", ":9090", "http://provider:9090", "provider:99999", "a b:1", "u@h:1", "h:1/x"]
    {
        let error = GrpcProvider::new(bad, Arc::new(Metrics::new())).err().map(|error| error.to_string());
        assert_eq!(error, Some(format!("cloudProviderGrpcAddr: {bad:?} is not host:port")));
    }
}
