//! The process itself, from `/proc`. What cannot be read there is left out of the scrape.

use std::fs;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use super::describe::{self, Description};

/// Unit of times in `/proc/self/stat`: 1/100 s on every Linux (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) fn register(registry: &mut Registry) {
    registry.register_collector(Box::new(Process));
}

#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let stat = Stat::read();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let open = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64);
        if let Some(cpu) = stat.as_ref().map(|stat| stat.cpu_seconds) {
            let name = describe::CPU.name.trim_end_matches("_total");
            let counter = ConstCounter::new(cpu);
            let help = format!("{}.", describe::CPU.help);
            counter.encode(encoder.encode_descriptor(name, &help, None, counter.metric_type())?)?;
        }
        let gauges: [(&Description, Option<f64>); 4] = [
            (&describe::START_TIME, stat.as_ref().and_then(|stat| stat.started_at)),
            (&describe::RESIDENT, kilobytes(&status, "VmRSS:")),
            (&describe::VIRTUAL, kilobytes(&status, "VmSize:")),
            (&describe::OPEN_FDS, open),
        ];
        for (description, value) in gauges {
            if let Some(value) = value {
                let gauge = ConstGauge::new(value);
                let help = format!("{}.", description.help);
                gauge.encode(encoder.encode_descriptor(description.name, &help, None, gauge.metric_type())?)?;
            }
        }
        Ok(())
    }
}

struct Stat {
    cpu_seconds: f64,
    started_at: Option<f64>,
}

impl Stat {
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The second field is the program's name in brackets and may hold anything; fields are counted after it.
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let seconds = |number: usize| Some(fields.get(number - 3)?.parse::<f64>().ok()? / TICKS_PER_SECOND);
        let (user, system, since_boot) = (seconds(14)?, seconds(15)?, seconds(22)?);
        let boot = fs::read_to_string("/proc/stat").ok();
        let boot = boot.as_ref().and_then(|stat| stat.lines().find_map(|line| line.strip_prefix("btime ")));
        let started_at = boot.and_then(|boot| boot.trim().parse::<f64>().ok()).map(|boot| boot + since_boot);
        Some(Stat { cpu_seconds: user + system, started_at })
    }
}

fn kilobytes(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().trim_end_matches("kB").trim_end().parse::<f64>().ok()? * 1024.0)
}
