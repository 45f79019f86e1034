//! `/v1/ip`: listing and releasing addresses.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Envelope;
use crate::wire::{List, from_members};

/// `updateTime` of an address that was never taken: Go's zero time.
pub const ZERO_TIME: Timestamp = Timestamp::constant(-62_135_596_800, 0);

/// One address in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IpEntry {
    /// The address.
    #[schema(value_type = String, example = "10.0.0.112")]
    pub ip: IpAddr,
    /// Namespace of the workload.
    #[schema(example = "default")]
    pub namespace: String,
    /// Name of the workload.
    #[schema(example = "sts")]
    pub app_name: String,
    /// Name of the pod.
    #[schema(example = "sts-0")]
    pub pod_name: String,
    /// Name of the pool, if the workload uses one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pool_name: String,
    /// Release policy: 0 with the pod, 1 immutable, 2 never.
    #[schema(example = 2)]
    pub policy: u8,
    /// Kind of the workload: `deployment`, `statefulset`, or another kind in lower case.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(example = "statefulset")]
    pub app_type: String,
    /// When the address was last taken, given up or kept.
    #[schema(value_type = String, format = DateTime, example = "2020-05-29T11:11:44.633383558Z")]
    pub update_time: Timestamp,
    /// Phase of the pod, or `Deleted`.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(example = "Deleted")]
    pub status: String,
    /// Whether no pod has the address, so that it can be released.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(example = true)]
    pub releasable: bool,
    /// Why the address is out of the ordinary: `AdminReserved`, `Quarantined`, `Orphaned`, `Disputed`; mostly absent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// One page of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IpList {
    /// Whether this is the last page.
    pub last: bool,
    /// How many addresses there are on all pages.
    pub total_elements: usize,
    /// How many pages there are.
    pub total_pages: usize,
    /// Whether this is the first page.
    pub first: bool,
    /// How many addresses this page has.
    pub number_of_elements: usize,
    /// How many addresses a page has at most.
    pub size: usize,
    /// Index of this page, from 0.
    pub number: usize,
    /// The addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub content: Vec<IpEntry>,
}

impl IpList {
    /// A page of `total` addresses. `entries` makes the entries of a range of positions in the sorted list.
    ///
    /// A page beyond the end is empty and reports the number that follows the last.
    pub fn page(
        total: usize,
        page: usize,
        size: usize,
        entries: impl FnOnce(std::ops::Range<usize>) -> Vec<IpEntry>,
    ) -> Self {
        let size = size.max(1);
        let start = page.saturating_mul(size).min(total);
        let end = start.saturating_add(size).min(total);
        let content = entries(start..end);
        IpList {
            last: end >= total,
            total_elements: total,
            total_pages: total.div_ceil(size),
            first: start == 0,
            number_of_elements: content.len(),
            size,
            number: start / size,
            content,
        }
    }
}

/// Query of a list. All text, because what cannot be read has a default instead of an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase", default)]
pub struct ListQuery {
    /// Only addresses whose key contains this text; the other filters are then ignored.
    pub keyword: String,
    /// Only addresses of this pool.
    pub pool_name: String,
    /// Only addresses of the workload of this name.
    pub app_name: String,
    /// Only addresses of the pod of exactly this name.
    pub pod_name: String,
    /// Only addresses in this namespace.
    pub namespace: String,
    /// Kind of the workload; `statefulset` unless given.
    pub app_type: String,
    /// Page, from 0; default 0.
    #[param(value_type = Option<u32>)]
    pub page: String,
    /// Addresses per page; default 10.
    #[param(value_type = Option<u32>)]
    pub size: String,
    /// `ip`, `podname`, `policy` or `namespace`, followed by ` asc` or ` desc`; default `ip asc`.
    pub sort: String,
}

/// How a list is sorted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sort {
    /// By what.
    pub field: SortField,
    /// From the largest.
    pub descending: bool,
}

/// What a list is sorted by. Equals are in the order of their addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SortField {
    /// Numeric order of the addresses.
    #[default]
    Ip,
    /// Namespace.
    Namespace,
    /// Name of the pod.
    PodName,
    /// Number of the release policy.
    Policy,
}

impl ListQuery {
    /// Page number: 0 where it is unreadable, at most 99,999.
    pub fn page(&self) -> usize {
        number(&self.page).map_or(0, |page| page.clamp(0, 99_999) as usize)
    }

    /// Page size: 10 where it is unreadable or not positive, at most 9,999.
    pub fn size(&self) -> usize {
        number(&self.size).filter(|size| *size > 0).map_or(10, |size| size.min(9_999) as usize)
    }

    /// Order of the list.
    pub fn sort(&self) -> Sort {
        use SortField::{Ip, Namespace, PodName, Policy};
        let (field, descending) = match self.sort.to_ascii_lowercase().as_str() {
            "namespace asc" => (Namespace, false),
            "namespace desc" => (Namespace, true),
            "podname" | "podname asc" => (PodName, false),
            "podname desc" => (PodName, true),
            "policy" | "policy asc" => (Policy, false),
            "policy desc" => (Policy, true),
            "ip desc" => (Ip, true),
            _ => (Ip, false),
        };
        Sort { field, descending }
    }
}

/// A decimal number; one too long for any use counts as the largest.
fn number(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(if text.starts_with('-') { i64::MIN } else { i64::MAX }))
}

/// Body of a release: the entries as a list gave them.
#[derive(Debug, Clone, Default, PartialEq, Eq, ToSchema)]
pub struct ReleaseRequest {
    /// What to release.
    pub ips: Vec<ReleaseItem>,
}

/// One address to release, and who must have it for that.
#[derive(Debug, Clone, Default, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct ReleaseItem {
    /// The address.
    #[schema(example = "10.0.0.112")]
    pub ip: String,
    /// Namespace of the workload.
    #[schema(required = false, example = "default")]
    pub namespace: String,
    /// Name of the workload.
    #[schema(required = false, example = "sts")]
    pub app_name: String,
    /// Name of the pod; empty for an address reserved without one.
    #[schema(required = false, example = "sts-0")]
    pub pod_name: String,
    /// Name of the pool, if the workload uses one.
    #[schema(required = false)]
    pub pool_name: String,
    /// Kind of the workload; `statefulset` unless given.
    #[schema(required = false, example = "statefulset")]
    pub app_type: String,
}

from_members!(<'de> ReleaseRequest { "ips" => |request, ips: List<ReleaseItem>| request.ips = ips.0; });
from_members!(<'de> ReleaseItem {
    "ip" => |item, ip: String| item.ip = ip;
    "namespace" => |item, namespace: String| item.namespace = namespace;
    "appName" => |item, name: String| item.app_name = name;
    "podName" => |item, name: String| item.pod_name = name;
    "poolName" => |item, name: String| item.pool_name = name;
    "appType" => |item, kind: String| item.app_type = kind;
});

impl ReleaseItem {
    /// The address.
    ///
    /// # Errors
    /// It is not one; the text names it.
    pub fn address(&self) -> Result<IpAddr, BadAddress> {
        self.ip.parse().map_err(|_| BadAddress(crate::wire::shorten(&self.ip).into_owned()))
    }
}

/// A request names something that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ip: {0:?} is not a valid ip")]
pub struct BadAddress(pub String);

/// Answer to a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReleaseResponse {
    /// Code and message.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// The addresses that were not released.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub unreleased: Vec<IpAddr>,
    /// Why, one for each of `unreleased`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

impl ReleaseResponse {
    /// 200 if all was released, else 202 with what was not and why.
    pub fn new(released: usize, failed: Vec<(IpAddr, String)>) -> Self {
        if failed.is_empty() {
            return ReleaseResponse { envelope: Envelope::ok(), unreleased: Vec::new(), reasons: Vec::new() };
        }
        let message =
            format!("Released {released} ips, {} ips failed, please check the reasons why they failed", failed.len());
        let (unreleased, reasons) = failed.into_iter().unzip();
        ReleaseResponse { envelope: Envelope::accepted(message), unreleased, reasons }
    }
}
