//! ADD.

use std::{path::PathBuf, thread};

use super::Call;
use crate::{
    announce::{Job, Jobs, Senders, announce_again, repeat},
    attach::{Attacher, Made, Plan},
    ident::{Identity, interface_names},
    ipam::{Given, from_args},
    netlink::{Net, Netns},
    node::Announcer,
    spec::{AddResult, Command, Dns, Error, IpConfig, code},
    state::{Record, RunDir},
    undo::{Undo, undo},
};

impl Call<'_> {
    /// Gives the pod its addresses. A failure takes back all that this call did.
    pub(super) fn add(&self) -> Result<AddResult, Error> {
        let identity = self.identity();
        let from_args = from_args(self.request)?;
        let netns = Netns::open(&self.request.netns).map_err(|error| {
            Error::new(code::UNKNOWN_CONTAINER, format!("cannot open the namespace {}: {error}", self.request.netns))
        })?;
        if netns.is(&self.node.host).unwrap_or(false) {
            let msg = format!("CNI_NETNS={} is the namespace of the host", self.request.netns);
            return Err(Error::new(code::INVALID_ENVIRONMENT, msg));
        }
        let run_dir = self.config.run_dir()?;
        let _attachment = run_dir.lock(&identity.lock())?;
        let before = run_dir.load(&identity);
        let asked_before = before.as_ref().is_some_and(|record| record.ipam.is_some());
        let (given, ipam) = match (from_args, self.delegate()) {
            (Some(given), _) => (given, None),
            (None, Some(delegate)) => {
                let answer = before.as_ref().and_then(|record| record.ipam.clone());
                let answer = answer.map_or_else(|| delegate.add(), Ok);
                let read = answer.and_then(|answer| Ok((delegate.read(&answer)?, Some(answer))));
                read.inspect_err(|_| self.release(asked_before))?
            }
            (None, None) => {
                return Err(Error::config("no addresses: neither ipinfos in CNI_ARGS nor ipam in the configuration"));
            }
        };
        let addresses = given.wanted.iter().map(|one| one.net.addr()).collect();
        let asked = ipam.is_some();
        let record = Record { identity, addresses, ipam };
        let made = self.replace(&run_dir, before.as_ref(), &record, &netns).and_then(|()| {
            let mut done = Vec::new();
            let made = self.make(&record.identity, &run_dir, &netns, &given, &mut done);
            made.inspect_err(|_| self.take_back(&run_dir, done))
        });
        made.inspect_err(|_| {
            if before.is_none() {
                let _ = run_dir.remove(&record.identity);
            }
            if asked {
                self.release(asked_before);
            }
        })
    }

    /// Saves the record. What an earlier call made for other addresses goes first.
    fn replace(&self, run_dir: &RunDir, before: Option<&Record>, now: &Record, netns: &Netns) -> Result<(), Error> {
        let stale = match before {
            Some(before) => before.addresses != now.addresses,
            // The record may have been lost, but not what is in the pod.
            None => {
                let links = self.node.open(netns)?.links();
                let links = links.map_err(|error| Error::network("cannot list the pod's interfaces", &error))?;
                links.len() > 1
            }
        };
        if stale {
            crate::attach::remove(self.node, &now.identity, &self.request.netns, (run_dir, before), &now.addresses)?;
        }
        run_dir.save(now)
    }

    /// Gives addresses back to the IPAM plugin, unless an earlier call got them.
    fn release(&self, asked_before: bool) {
        if let Some(delegate) = self.delegate().filter(|_| !asked_before) {
            let _ = delegate.call(Command::Del);
        }
    }

    fn make(
        &self,
        identity: &Identity,
        run_dir: &RunDir,
        netns: &Netns,
        given: &Given,
        done: &mut Vec<Undo>,
    ) -> Result<AddResult, Error> {
        let (mut host, mut pod) = (self.node.net()?, self.node.open(netns)?);
        let wanted = &given.wanted;
        // Shared devices are made by one call at a time. While others use them, a failed call leaves them alone.
        let making = run_dir.lock("devices")?;
        let using = run_dir.share("devices-in-use")?;
        let grounds = self.plugin.grounds(self.config, &mut host, wanted, done)?;
        drop(making);
        let routes = self.plugin.routes(wanted);
        let names = interface_names(&identity.ifname);
        let parts = names.zip(wanted).zip(grounds).zip(routes).enumerate();
        let plans = parts.map(|(index, (((name, wanted), ground), routes))| {
            let mtu = self.config.mtu.unwrap_or(ground.device().mtu);
            Plan { index, name, wanted: wanted.clone(), routes, mtu, ground }
        });
        let plans: Vec<Plan> = plans.collect();
        let mut attacher = Attacher {
            identity,
            host: &mut host,
            pod: &mut pod,
            netns: &self.request.netns,
            conflict: self.config.conflict,
            request: self.config.gratuitous_arp_request,
            several: wanted.len() > 1,
            done,
        };
        let made = plans.iter().map(|plan| attacher.attach(plan)).collect::<Result<Vec<Made>, Error>>()?;
        drop(using);
        let lock = run_dir.lock_path(&identity.lock());
        self.announce(made.iter().filter_map(|made| made.announce.clone()).collect(), lock);
        Ok(self.result(given, &plans, made))
    }

    /// Undoes the pod's part always, and shared devices only if nobody uses them.
    fn take_back(&self, run_dir: &RunDir, done: Vec<Undo>) {
        let Ok(mut host) = Net::open(&self.node.host, self.node.tap.clone()) else { return };
        let (own, shared): (Vec<Undo>, Vec<Undo>) = done.into_iter().partition(Undo::is_own);
        undo(&mut host, own);
        if shared.is_empty() {
            return;
        }
        let Ok(_making) = run_dir.lock("devices") else { return };
        if let Some(_nobody_else) = run_dir.try_lock("devices-in-use") {
            undo(&mut host, shared);
        }
    }

    /// Tells the neighbours at once, and again when the call has answered. A pod that could not be announced still works.
    fn announce(&self, jobs: Vec<Job>, lock: PathBuf) {
        let mut senders = Senders::default();
        for job in &jobs {
            if let Err(error) = job.now(&self.node.host, &mut senders) {
                crate::warn(&format!(
                    "cannot announce {} on {}: {error}",
                    job.announcement.ip, job.announcement.device
                ));
            }
        }
        if jobs.is_empty() {
            return;
        }
        let jobs = Jobs { lock, jobs };
        let begun = match &self.node.announcer {
            Announcer::Once => Ok(()),
            Announcer::Process(program) => repeat(program, &jobs, senders),
            Announcer::Thread => {
                let host = self.node.host.clone();
                let thread = thread::Builder::new().name("announcer".to_owned());
                let again = move || {
                    drop(senders);
                    announce_again(jobs, &host);
                };
                thread.spawn(again).map(drop)
            }
        };
        if let Err(error) = begun {
            crate::warn(&format!("cannot announce again: {error}"));
        }
    }

    fn result(&self, given: &Given, plans: &[Plan], made: Vec<Made>) -> AddResult {
        let mut result = AddResult { dns: self.conf.dns.clone(), ..Default::default() };
        if result.dns == Dns::default() {
            result.dns = given.dns.clone();
        }
        for (plan, made) in plans.iter().zip(made) {
            result.interfaces.extend(made.interfaces);
            let interface = Some(result.interfaces.len() - 1);
            let (address, gateway) = (plan.wanted.net, plan.wanted.gateway);
            result.ips.push(IpConfig { interface, address, gateway });
            for route in &plan.routes {
                if !result.routes.iter().any(|other| other.dst == route.dst) {
                    let mut route = route.clone();
                    // A result with several gateways must say which one a route has.
                    route.gw = route.gw.or(gateway.filter(|_| plans.len() > 1));
                    result.routes.push(route);
                }
            }
        }
        result
    }
}
