//! `GET /v1/ip`.

use std::cmp::{Ordering, Reverse};

use axum::{
    extract::{Query, State},
    response::Response,
};
use galaxy_api::http::{Envelope, IpList, ListQuery, Sort, SortField};
use galaxy_core::{Addr, ReleasePolicy, ledger::AddressInfo};

use super::{
    Api, Backend,
    entry::{Filter, Parts, entry},
    reply::{Failure, answer},
};

/// How many addresses are taken from the ledger at a time, so that the scheduler never waits for a list.
const CHUNK: usize = 1024;

/// Lists addresses.
///
/// Without any filter all configured addresses are listed, free ones included. Otherwise only those that somebody has:
/// either those whose key contains `keyword`, or those that equal all given parts. Unreadable numbers count as not given.
#[utoipa::path(
    get,
    path = "/v1/ip",
    operation_id = "ListIPs",
    tag = "ip",
    params(ListQuery),
    responses(
        (status = 200, description = "A page of addresses", body = IpList),
        (status = 500, description = "This replica does not know the cluster yet", body = Envelope)
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    api.backend.synced().map_err(Failure::server_error)?;
    let query = query(pairs);
    Ok(answer(200, &page(&*api.backend, &query)))
}

/// The query; of a parameter that is given twice, the first counts.
fn query(pairs: Vec<(String, String)>) -> ListQuery {
    let mut query = ListQuery::default();
    for (name, value) in pairs.into_iter().rev() {
        let member = match name.as_str() {
            "keyword" => &mut query.keyword,
            "poolName" => &mut query.pool_name,
            "appName" => &mut query.app_name,
            "podName" => &mut query.pod_name,
            "namespace" => &mut query.namespace,
            "appType" => &mut query.app_type,
            "page" => &mut query.page,
            "size" => &mut query.size,
            "sort" => &mut query.sort,
            _ => continue,
        };
        *member = value;
    }
    query
}

/// The page that the query asks for.
fn page(backend: &dyn Backend, query: &ListQuery) -> IpList {
    let (number, size, sort) = (query.page(), query.size(), query.sort());
    let filter = Filter::of(query);
    let mut page = if let Filter::Everything = filter {
        everything(backend, number, size, sort)
    } else {
        let mut found = Vec::new();
        each_candidate(backend, &filter, |info| {
            if filter.matches(&info) {
                found.push(info);
            }
        });
        sort_infos(&mut found, sort);
        IpList::page(found.len(), number, size, |positions| found[positions].iter().map(entry).collect())
    };
    // The original reported a smaller number for pages beyond the end.
    page.number = number;
    page
}

/// Calls `visit` with every address that may match, ascending: those of the owner that the query names, if it names one.
fn each_candidate(backend: &dyn Backend, filter: &Filter<'_>, mut visit: impl FnMut(AddressInfo)) {
    let Some(mut addrs) = backend.addresses_of(&filter.owner()) else { return each_address(backend, visit) };
    addrs.sort_unstable();
    addrs.dedup();
    for chunk in addrs.chunks(CHUNK) {
        backend.describe(chunk).into_iter().for_each(&mut visit);
    }
}

/// Calls `visit` with every address that has an owner, ascending.
fn each_address(backend: &dyn Backend, mut visit: impl FnMut(AddressInfo)) {
    let mut next = Some(Addr::V4_MIN);
    while let Some(first) = next {
        let chunk = backend.addresses_from(first, CHUNK);
        let last = chunk.last().filter(|_| chunk.len() == CHUNK).map(|info| info.addr);
        next = last.and_then(|last| last.next().or((last == Addr::V4_MAX).then_some(Addr::V6_MIN)));
        chunk.into_iter().for_each(&mut visit);
    }
}

/// Sorts addresses that come in ascending order; equals stay so.
fn sort_infos(infos: &mut [AddressInfo], sort: Sort) {
    match sort.field {
        SortField::Ip => sort_by(infos, sort.descending, |info| info.addr),
        SortField::Namespace => sort_by(infos, sort.descending, |info| Parts::of(info).namespace.into_owned()),
        SortField::PodName => sort_by(infos, sort.descending, |info| Parts::of(info).pod.into_owned()),
        SortField::Policy => sort_by(infos, sort.descending, |info| info.policy),
    }
}

fn sort_by<K: Ord>(infos: &mut [AddressInfo], descending: bool, key: impl Fn(&AddressInfo) -> K) {
    if descending {
        infos.sort_by_cached_key(|info| Reverse(key(info)));
    } else {
        infos.sort_by_cached_key(key);
    }
}

/// A page of all addresses. There may be more of them than anybody can sort (an IPv6 subnet), so those that are free,
/// which all look alike, are never gathered.
fn everything(backend: &dyn Backend, number: usize, size: usize, sort: Sort) -> IpList {
    if sort.field != SortField::Ip {
        return everything_by_value(backend, number, size, sort);
    }
    let (total, _) = backend.page(0, 0);
    IpList::page(whole(total), number, size, |positions| {
        let (start, take) = (positions.start as u128, positions.len());
        let mut infos = if sort.descending {
            backend.page(total.saturating_sub(start + take as u128), take).1
        } else {
            backend.page(start, take).1
        };
        if sort.descending {
            infos.reverse();
        }
        infos.iter().map(entry).collect()
    })
}

/// Sorted by something that free addresses lack: those that have it make one block, the others ("plain") another.
fn everything_by_value(backend: &dyn Backend, number: usize, size: usize, sort: Sort) -> IpList {
    let mut valued = Vec::new();
    each_address(backend, |info| {
        let plain = match sort.field {
            SortField::Ip => true,
            SortField::Namespace => Parts::of(&info).namespace.is_empty(),
            SortField::PodName => Parts::of(&info).pod.is_empty(),
            SortField::Policy => info.policy == ReleasePolicy::Default,
        };
        if !plain {
            valued.push(info);
        }
    });
    let addrs: Vec<Addr> = valued.iter().map(|info| info.addr).collect();
    sort_infos(&mut valued, sort);

    let (total, _) = backend.page(0, 0);
    let plain = whole(total).saturating_sub(valued.len());
    IpList::page(plain + valued.len(), number, size, |positions| {
        let (start, end) = (positions.start, positions.end);
        let cut = |from: usize, len: usize| start.clamp(from, from + len) - from..end.clamp(from, from + len) - from;
        let entries = |of: std::ops::Range<usize>| valued[of].iter().map(entry);
        let plains = |of: std::ops::Range<usize>| plain_addresses(backend, &addrs, of.start, of.len());
        if sort.descending {
            let plains = plains(cut(valued.len(), plain));
            entries(cut(0, valued.len())).chain(plains.iter().map(entry)).collect()
        } else {
            let plains = plains(cut(0, plain));
            plains.iter().map(entry).chain(entries(cut(plain, valued.len()))).collect()
        }
    })
}

/// `take` addresses from the `skip`-th, not counting those in `without` (ascending).
fn plain_addresses(backend: &dyn Backend, without: &[Addr], skip: usize, take: usize) -> Vec<AddressInfo> {
    // Before position p of all addresses there are p - (how many of `without` are below its address) plain ones.
    let plain_before = |position: usize| {
        let at = backend.page(position as u128, 1).1.into_iter().next();
        at.map(|info| position - without.partition_point(|addr| *addr < info.addr).min(position))
    };
    let (mut low, mut high) = (skip, skip.saturating_add(without.len()));
    while low < high {
        let middle = low + (high - low) / 2;
        match plain_before(middle).map_or(Ordering::Greater, |before| before.cmp(&skip)) {
            Ordering::Less => low = middle + 1,
            Ordering::Equal | Ordering::Greater => high = middle,
        }
    }
    let mut found = Vec::new();
    while found.len() < take {
        let chunk = backend.page(low as u128, CHUNK).1;
        if chunk.is_empty() {
            break;
        }
        low += chunk.len();
        found.extend(chunk.into_iter().filter(|info| without.binary_search(&info.addr).is_err()));
    }
    found.truncate(take);
    found
}

/// A count as the API can say it.
fn whole(count: u128) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
