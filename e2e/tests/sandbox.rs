//! Every scenario on the embedded sandbox, each on a cluster of its own.

macro_rules! on_the_sandbox {
    ($module:ident = $path:path, $source:literal { $($name:ident)* }) => {
        mod $module {
            use $path as scenarios;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    if let Err(error) = scenarios::$name(galaxy_e2e::sandbox::lab()).await {
                        panic!("{error:#}");
                    }
                }
            )*
        }
    };
}

galaxy_e2e::scenarios!(on_the_sandbox);
