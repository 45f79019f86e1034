//! Every scenario on the embedded sandbox, each on a cluster of its own.

macro_rules! on_the_sandbox {
    ($module:ident = $path:path { $($name:ident)* }) => {
        mod $module {
            use $path as scenarios;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() -> anyhow::Result<()> {
                    scenarios::$name(galaxy_e2e::sandbox::lab()).await
                }
            )*
        }
    };
}

galaxy_e2e::scenarios!(on_the_sandbox);
