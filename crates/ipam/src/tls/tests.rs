//! A port over TLS as its callers meet it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Instant;

use axum::Router;
use axum::routing::get;
use galaxy_plane::{Authority, Certified, Subject};
use jiff::ToSpan;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::metrics::{Format, Snapshot};
use crate::servers::{listen, serve};

const NAME: &str = "galaxy-ipam.kube-system.svc";
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A folder with certificate files, a port that serves with them, and the authority.
struct Site {
    folder: PathBuf,
    authority: Authority,
    tls: Arc<Tls>,
    metrics: Arc<Metrics>,
    address: SocketAddr,
    stop: CancellationToken,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn subject() -> Subject<'static> {
    Subject::new("galaxy-ipam", &[NAME], &[LOCALHOST])
}

fn put(folder: &std::path::Path, pair: &Certified) {
    fs::write(folder.join("tls.crt"), &pair.certificate).unwrap();
    fs::write(folder.join("tls.key"), &pair.key).unwrap();
}

fn access(folder: &std::path::Path, names: &[&str]) -> Access {
    Access {
        tls_cert_file: Some(folder.join("tls.crt")),
        tls_private_key_file: Some(folder.join("tls.key")),
        client_ca_file: Some(folder.join("ca.crt")),
        client_allowed_names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Access::default()
    }
}

fn new_folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("galaxy-tls-{}", uuid::Uuid::new_v4().simple()));
    fs::create_dir(&folder).unwrap();
    folder
}

impl Site {
    async fn start(names: &[&str]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (folder, authority) = (new_folder(), Authority::new("test").unwrap());
        fs::write(folder.join("ca.crt"), authority.certificate()).unwrap();
        put(&folder, &authority.issue(&subject()).unwrap());
        let (access, metrics) = (access(&folder, names), Arc::new(Metrics::new()));
        let tls = Tls::load(&access, metrics.clone()).unwrap().unwrap();
        let router = Router::new().route("/v1/bind", get(|| async { "bound" }));
        let router = crate::access::guard_extender(router, &access, Some(&tls), &metrics)
            .route("/healthy", get(|| async { "ok" }));
        let listener = listen(LOCALHOST, 0).await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        tokio::spawn(serve(listener, Some((tls.clone(), Port::Extender)), router, stop.clone()));
        tokio::spawn(tls.clone().follow());
        Site { folder, authority, tls, metrics, address, stop }
    }

    fn client(&self, name: &str) -> Certified {
        self.authority.issue(&Subject::new(name, &[], &[])).unwrap()
    }

    /// The answer to a GET: status line and body, or why there is none.
    async fn get(&self, path: &str, certificate: Option<&Certified>) -> Result<String, String> {
        let config = client_config(self.authority.certificate(), certificate);
        self.get_with(path, config, NAME).await
    }

    async fn get_with(&self, path: &str, config: ClientConfig, name: &str) -> Result<String, String> {
        let connector = TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
        ask(&mut stream, path).await
    }

    fn scrape(&self) -> String {
        self.metrics.encode(Format::Text, &Snapshot::default())
    }

    /// Waits until the metrics have this line.
    async fn counted(&self, line: &str) {
        let start = Instant::now();
        while !self.scrape().contains(line) {
            assert!(start.elapsed() < Duration::from_secs(20), "{line} is not in\n{}", self.scrape());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn not_after(&self) -> i64 {
        self.tls.read(|bundle| bundle.certificate.not_after)
    }
}

fn client_config(authority: &str, certificate: Option<&Certified>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder().with_root_certificates(roots);
    match certificate {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap()).unwrap()
        }
    }
}

async fn ask(
    stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin),
    path: &str,
) -> Result<String, String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    // In TLS 1.3 a client learns only now that its certificate is refused.
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.map_err(|error| error.to_string())?;
    Ok(answer)
}

#[tokio::test]
async fn the_extender_demands_an_allowed_certificate_and_health_does_not() {
    let site = Site::start(&["kube-scheduler", "spare"]).await;
    let stranger = Authority::new("test").unwrap().issue(&Subject::new("kube-scheduler", &[], &[])).unwrap();
    let mut old = Subject::new("kube-scheduler", &[], &[]);
    old.life = (old.life.0 - 48.hours(), old.life.0 - 1.hour());
    let expired = site.authority.issue(&old).unwrap();
    let dns = site.authority.issue(&Subject::new("x", &["other", "spare"], &[])).unwrap();
    let replica = site.authority.issue(&Subject::new("x", &["y", NAME], &[])).unwrap();

    for (certificate, expected) in [
        (None, Ok(("401", "a client certificate of an authority in --client-ca-file is needed"))),
        (
            Some(site.client("somebody")),
            Ok(("403", "no name of the client certificate (somebody) is in --client-allowed-names")),
        ),
        (Some(site.client("kube-scheduler")), Ok(("200", "bound"))),
        (Some(dns), Ok(("200", "bound"))),
        (Some(replica), Ok(("200", "bound"))),
        (Some(stranger), Err(())),
        (Some(expired), Err(())),
    ] {
        let name = certificate
            .as_ref()
            .map(|pair| Certificate::parse(&CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()));
        let answer = site.get("/v1/bind", certificate.as_ref()).await;
        match expected {
            Ok((code, words)) => {
                let text = answer.unwrap();
                assert!(text.starts_with(&format!("HTTP/1.1 {code}")) && text.contains(words), "{name:?}: {text}");
                let health = site.get("/healthy", certificate.as_ref()).await.unwrap();
                assert!(health.starts_with("HTTP/1.1 200"), "{name:?}: {health}");
            }
            Err(()) => assert!(answer.is_err(), "{name:?}: {answer:?}"),
        }
    }
    for line in [
        "galaxy_ipam_turned_away_total{port=\"extender\",reason=\"unauthenticated\"} 1",
        "galaxy_ipam_turned_away_total{port=\"extender\",reason=\"forbidden\"} 1",
        "galaxy_ipam_turned_away_total{port=\"extender\",reason=\"handshake\"} 2",
    ] {
        site.counted(line).await;
    }
}

#[tokio::test]
async fn replicas_call_each_other_with_what_they_serve_with() {
    let site = Site::start(&["kube-scheduler"]).await;
    let name = site.tls.peer_name().unwrap();
    let config = Arc::unwrap_or_clone(site.tls.peer());
    let answer = site.get_with("/v1/bind", config.clone(), &name).await.unwrap();
    assert!(answer.contains("bound"), "{answer}");
    // Somebody else's certificate is not taken for a replica's.
    assert!(site.get_with("/v1/bind", config, "else.example").await.is_err());
}

#[tokio::test]
async fn plain_http_is_told_to_use_https() {
    let site = Site::start(&[]).await;
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    let answer = ask(&mut stream, "/healthy").await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 400") && answer.contains("speaks HTTPS"), "{answer}");
    // A look at whether the port is open is no fault.
    drop(TcpStream::connect(site.address).await.unwrap());
    assert!(site.get("/healthy", None).await.is_ok());
    site.counted("galaxy_ipam_turned_away_total{port=\"extender\",reason=\"handshake\"} 1").await;
}

#[tokio::test]
async fn changed_files_come_into_force_and_broken_ones_do_not() {
    let site = Site::start(&[]).await;
    let issue = |hours: i64| {
        let mut subject = subject();
        subject.life.1 += hours.hours();
        (site.authority.issue(&subject).unwrap(), subject.life.1.as_second())
    };
    let first = site.not_after();
    let (second, until) = issue(1);
    put(&site.folder, &second);
    site.counted("galaxy_ipam_tls_reloads_total{result=\"ok\"}").await;
    // The two files may have been seen one by one.
    site.counted(&format!("galaxy_ipam_tls_certificate_expiry_seconds {until}")).await;
    assert!(first < until && site.get("/v1/bind", Some(&site.client("a"))).await.unwrap().contains("bound"));

    // Nothing of this is taken.
    let other = site.authority.issue(&subject()).unwrap();
    let mut old = subject();
    old.life = (old.life.0 - 48.hours(), old.life.0 - 1.hour());
    let expired = site.authority.issue(&old).unwrap();
    let broken = [
        Certified { certificate: other.certificate.clone(), key: second.key.clone() },
        Certified { certificate: String::new(), key: other.key.clone() },
        Certified { certificate: other.certificate.clone(), key: "no key".to_owned() },
        expired,
    ];
    for pair in &broken {
        let contents = Contents {
            certificate: pair.certificate.clone().into_bytes(),
            key: pair.key.clone().into_bytes(),
            authorities: Some(site.authority.certificate().into()),
        };
        let before = refusals(&site);
        site.tls.take(&contents);
        assert_eq!((refusals(&site), site.not_after()), (before + 1, until));
    }
    // Files that are gone change nothing, as new ones do when they are there again.
    fs::remove_file(site.folder.join("tls.key")).unwrap();
    assert!(site.get("/healthy", None).await.is_ok());
    let (third, until) = issue(2);
    put(&site.folder, &third);
    site.counted(&format!("galaxy_ipam_tls_certificate_expiry_seconds {until}")).await;
}

fn refusals(site: &Site) -> u64 {
    let scrape = site.scrape();
    let line = scrape.lines().find_map(|line| line.strip_prefix("galaxy_ipam_tls_reloads_total{result=\"refused\"} "));
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn the_link_that_kubernetes_swaps_is_followed() {
    let site = Site::start(&[]).await;
    let (folder, authority) = (&site.folder, &site.authority);
    // As kubelet lays out a volume: ..data leads to the folder in force, and files lead through it.
    let version = |name: &str, hours: i64| {
        let mut subject = subject();
        subject.life.1 += hours.hours();
        let inner = folder.join(name);
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("ca.crt"), authority.certificate()).unwrap();
        put(&inner, &authority.issue(&subject).unwrap());
        std::os::unix::fs::symlink(name, folder.join("..new")).unwrap();
        fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
        subject.life.1.as_second()
    };
    let first = version("..1", 3);
    for file in ["tls.crt", "tls.key", "ca.crt"] {
        fs::remove_file(folder.join(file)).unwrap();
        std::os::unix::fs::symlink(format!("..data/{file}"), folder.join(file)).unwrap();
    }
    site.counted(&format!("galaxy_ipam_tls_certificate_expiry_seconds {first}")).await;
    let second = version("..2", 4);
    site.counted(&format!("galaxy_ipam_tls_certificate_expiry_seconds {second}")).await;
}

#[tokio::test]
async fn a_start_with_faulty_files_says_which_and_why() {
    let folder = new_folder();
    let authority = Authority::new("test").unwrap();
    let (one, two) = (authority.issue(&subject()).unwrap(), authority.issue(&subject()).unwrap());
    let access = access(&folder, &[]);
    let fault = || match Tls::load(&access, Arc::new(Metrics::new())) {
        Ok(_) => "nothing".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    let cert = format!("--tls-cert-file={}", folder.join("tls.crt").display());
    let key = format!("--tls-private-key-file={}", folder.join("tls.key").display());
    let ca = format!("--client-ca-file={}", folder.join("ca.crt").display());
    assert!(fault().starts_with(&format!("TLS: {cert} cannot be read: No such file")), "{}", fault());
    put(&folder, &one);
    assert!(fault().starts_with(&format!("TLS: {ca} cannot be read: No such file")), "{}", fault());
    fs::write(folder.join("ca.crt"), "").unwrap();
    assert_eq!(fault(), format!("TLS: {ca}: no certificate in PEM form"));
    fs::write(folder.join("ca.crt"), authority.certificate()).unwrap();
    assert_eq!(fault(), "nothing");
    fs::write(folder.join("tls.key"), &two.key).unwrap();
    assert_eq!(fault(), format!("TLS: {cert} and {key}: the private key is not the certificate's"));
    fs::write(folder.join("tls.key"), &two.certificate).unwrap();
    assert!(fault().starts_with(&format!("TLS: {key} holds no private key in PEM form")), "{}", fault());
    fs::write(folder.join("tls.crt"), &two.key).unwrap();
    assert_eq!(fault(), format!("TLS: {cert}: no certificate in PEM form"));
    fs::write(folder.join("tls.crt"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert_eq!(fault(), format!("TLS: {cert}: no X.509 certificate"));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn certificates_are_read_and_never_panic() {
    let pair =
        Authority::new("ca").unwrap().issue(&Subject::new("somebody", &["a.example", "b"], &[LOCALHOST])).unwrap();
    let der = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    let read = Certificate::parse(&der).unwrap();
    assert_eq!(read.names().collect::<Vec<_>>(), ["somebody", "a.example", "b"]);
    assert_eq!(read.not_after - read.not_before, 25 * 3600);
    assert!((read.not_before + 3600 - Timestamp::now().as_second()).abs() < 60);
    for length in 0..der.len() {
        assert_eq!(Certificate::parse(&der[..length]), None);
    }
    for at in 0..der.len() {
        for value in [0, 0x7f, 0x80, 0x84, 0xff] {
            let mut changed = der.to_vec();
            changed[at] = value;
            let _ = Certificate::parse(&changed);
        }
    }
}
