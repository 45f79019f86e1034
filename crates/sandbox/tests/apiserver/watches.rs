//! Watches: resumption, selection, bookmarks, streaming lists, expiry, tables.

use futures::{StreamExt, TryStreamExt};
use galaxy_sandbox::apiserver::{Options, Server};
use galaxy_sandbox::clock::Clock;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    runtime::watcher,
};
use serde_json::json;
use std::time::Duration;

use super::{from, soon, start, status};

fn map(name: &str, app: &str) -> ConfigMap {
    from(json!({"metadata": {"name": name, "labels": {"app": app}}}))
}

#[tokio::test]
async fn a_watch_resumes_where_it_ended() {
    let (_server, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let start = maps.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    for n in 0..3 {
        maps.create(&PostParams::default(), &from(json!({"metadata": {"name": format!("m{n}")}}))).await.unwrap();
    }
    let params = WatchParams::default();
    let first: Vec<_> = maps.watch(&params, &start).await.unwrap().take(2).try_collect().await.unwrap();
    let WatchEvent::Added(second) = &first[1] else { panic!("{first:?}") };
    assert_eq!(second.name_any(), "m1");
    let version = second.resource_version().unwrap();
    let mut rest = Box::pin(maps.watch(&params, &version).await.unwrap());
    let WatchEvent::Added(third) = rest.next().await.unwrap().unwrap() else { panic!() };
    assert_eq!(third.name_any(), "m2");
    maps.delete("m0", &DeleteParams::default()).await.unwrap();
    let next = soon(rest.next()).await.unwrap().unwrap();
    let WatchEvent::Deleted(gone) = next else { panic!("{next:?}") };
    assert_eq!(gone.name_any(), "m0");
    assert!(gone.resource_version().unwrap().parse::<u64>().unwrap() > version.parse().unwrap());
}

#[tokio::test]
async fn an_object_that_stops_fitting_is_deleted_from_the_watch() {
    let (_server, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let post = PostParams::default();
    maps.create(&post, &map("a", "web")).await.unwrap();
    maps.create(&post, &map("b", "db")).await.unwrap();
    let params = WatchParams::default().labels("app=web");
    let mut watch = Box::pin(maps.watch(&params, "0").await.unwrap());
    let mut seen = Vec::new();
    let relabel = |app: &str| Patch::Merge(json!({"metadata": {"labels": {"app": app}}}));
    maps.patch("a", &PatchParams::default(), &relabel("db")).await.unwrap();
    maps.patch("b", &PatchParams::default(), &relabel("web")).await.unwrap();
    maps.patch("b", &PatchParams::default(), &Patch::Merge(json!({"data": {"k": "v"}}))).await.unwrap();
    maps.delete("b", &DeleteParams::default()).await.unwrap();
    while seen.len() < 5 {
        seen.push(match soon(watch.next()).await.unwrap().unwrap() {
            WatchEvent::Added(o) => format!("+{}", o.name_any()),
            WatchEvent::Modified(o) => format!("*{}", o.name_any()),
            WatchEvent::Deleted(o) => format!("-{}", o.name_any()),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(seen, ["+a", "-a", "+b", "*b", "-b"]);
}

#[tokio::test]
async fn a_compacted_revision_is_gone() {
    let (server, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    maps.create(&PostParams::default(), &map("a", "x")).await.unwrap();
    let old = maps.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    maps.create(&PostParams::default(), &map("b", "x")).await.unwrap();
    let newest = maps.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut lively = Box::pin(maps.watch(&WatchParams::default(), &newest).await.unwrap());
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::default_namespaced(maps.clone().into_client());
    pods.create(&PostParams::default(), &super::pod("p")).await.unwrap();
    // A dropped event of the watch's own collection would be seen; the pod is none.
    server.compact();
    let mut watch = Box::pin(maps.watch(&WatchParams::default(), &old).await.unwrap());
    let WatchEvent::Error(error) = soon(watch.next()).await.unwrap().unwrap() else { panic!() };
    assert_eq!((error.code, error.reason.as_str()), (410, "Expired"));
    assert!(soon(watch.next()).await.is_none(), "the stream ends after the error");
    // An open watch that is up to date goes on.
    maps.create(&PostParams::default(), &map("c", "x")).await.unwrap();
    let event = soon(lively.next()).await.unwrap().unwrap();
    assert!(matches!(&event, WatchEvent::Added(o) if o.name_any() == "c"), "{event:?}");
}

#[tokio::test]
async fn runtime_watchers_follow_through_compaction_and_restarts() {
    let (server, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    maps.create(&PostParams::default(), &map("a", "x")).await.unwrap();
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let mut stream = Box::pin(watcher(maps.clone(), config));
        let mut names = std::collections::BTreeSet::new();
        let mut ready = false;
        while !ready {
            match soon(stream.next()).await.unwrap().unwrap() {
                watcher::Event::InitApply(o) => drop(names.insert(o.name_any())),
                watcher::Event::InitDone => ready = true,
                _ => {}
            }
        }
        assert!(names.contains("a"), "{names:?}");
        server.close_watches();
        let name = format!("n{}", server.revision());
        maps.create(&PostParams::default(), &map(&name, "x")).await.unwrap();
        // kube's watcher reports the closed watch as an error or silently resumes; the object comes in either case.
        loop {
            if let Ok(watcher::Event::Apply(o) | watcher::Event::InitApply(o)) = soon(stream.next()).await.unwrap()
                && o.name_any() == name
            {
                break;
            }
        }
    }
}

#[tokio::test]
async fn timeouts_and_bookmarks_live_by_the_clock() {
    let clock = Clock::manual("2026-01-01T00:00:00Z".parse().unwrap());
    let server = Server::start(Options { clock: clock.clone(), ..Options::default() }).await.unwrap();
    let client = server.client("test");
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let made = maps.create(&PostParams::default(), &map("a", "x")).await.unwrap();
    assert_eq!(made.creation_timestamp().unwrap().0.to_string(), "2026-01-01T00:00:00Z");
    let mut watch = Box::pin(maps.watch(&WatchParams::default().timeout(100), "0").await.unwrap());
    assert!(matches!(soon(watch.next()).await.unwrap().unwrap(), WatchEvent::Added(_)));
    // Another collection moves the revision on; a bookmark says that nothing was missed.
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::default_namespaced(client);
    pods.create(&PostParams::default(), &super::pod("p")).await.unwrap();
    maps.patch("a", &PatchParams::default(), &Patch::Merge(json!({"data": {"k": "v"}}))).await.unwrap();
    assert!(matches!(soon(watch.next()).await.unwrap().unwrap(), WatchEvent::Modified(_)));
    let mut bookmark = None;
    for _ in 0..100 {
        clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(1)).await;
        if let Ok(event) = tokio::time::timeout(Duration::from_millis(1), watch.next()).await {
            match event {
                Some(Ok(WatchEvent::Bookmark(mark))) => bookmark = Some(mark.metadata.resource_version),
                None => break,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(bookmark, Some(server.revision().to_string()));
    assert!(soon(watch.next()).await.is_none());
}

#[tokio::test]
async fn a_held_cache_lags_and_quorum_reads_do_not() {
    let (server, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    maps.create(&PostParams::default(), &map("a", "x")).await.unwrap();
    let mut watch = Box::pin(maps.watch(&WatchParams::default(), "0").await.unwrap());
    assert!(matches!(soon(watch.next()).await.unwrap().unwrap(), WatchEvent::Added(_)));
    server.hold_cache(Some("configmaps"));
    maps.create(&PostParams::default(), &map("b", "x")).await.unwrap();
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let names = |list: kube::core::ObjectList<ConfigMap>| list.iter().map(ResourceExt::name_any).collect::<Vec<_>>();
    let any = ListParams::default().match_any();
    assert_eq!(names(maps.list(&ListParams::default()).await.unwrap()), ["b"]);
    assert_eq!(names(maps.list(&any).await.unwrap()), ["a"]);
    assert_eq!(maps.get_with("a", &kube::api::GetParams::any()).await.unwrap().name_any(), "a");
    assert_eq!(status(maps.get("a").await).0, 404);
    let quiet = tokio::time::timeout(Duration::from_millis(50), watch.next()).await;
    assert!(quiet.is_err(), "a held cache sends nothing: {quiet:?}");
    server.release_cache(None);
    assert!(matches!(soon(watch.next()).await.unwrap().unwrap(), WatchEvent::Added(o) if o.name_any() == "b"));
    assert!(matches!(soon(watch.next()).await.unwrap().unwrap(), WatchEvent::Deleted(o) if o.name_any() == "a"));
    assert_eq!(names(maps.list(&any).await.unwrap()), ["b"]);
}

#[tokio::test]
async fn metadata_watches_carry_metadata_only() {
    let (_server, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    maps.create(&PostParams::default(), &from(json!({"metadata": {"name": "a"}, "data": {"k": "v"}}))).await.unwrap();
    let list = maps.list_metadata(&ListParams::default()).await.unwrap();
    assert_eq!(list.items[0].name_any(), "a");
    let mut watch = Box::pin(maps.watch_metadata(&WatchParams::default(), "0").await.unwrap());
    assert!(matches!(soon(watch.next()).await.unwrap().unwrap(), WatchEvent::Added(o) if o.name_any() == "a"));
}
