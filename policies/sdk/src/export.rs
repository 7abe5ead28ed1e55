//! One macro a world: makes a component of a configuration and a function that decides.

/// Exports a rate shaper, made of a [`Configuration`](crate::Configuration) and a
/// `fn(&Config, &Request, &[Measured], &Load) -> Shaping`.
#[macro_export]
macro_rules! export_rate_shaper {
    ($config:ty, $decide:path) => {
        $crate::__export_policy!(
            $config,
            rate_shaper,
            fn shape(request, measured, load: $crate::rate_shaper::Load)
                -> $crate::rate_shaper::Shaping { $decide }
        );
    };
}

/// Exports a user limit, made of a [`Configuration`](crate::Configuration) and a
/// `fn(&Config, &Request, &[Measured], &Usage) -> Admission`.
#[macro_export]
macro_rules! export_user_limit {
    ($config:ty, $decide:path) => {
        $crate::__export_policy!(
            $config,
            user_limit,
            fn admit(request, measured, usage: $crate::user_limit::Usage)
                -> $crate::user_limit::Admission { $decide }
        );
    };
}

/// Exports a shard picker, made of a [`Configuration`](crate::Configuration) and a
/// `fn(&Config, &Request, &[Measured], &[Shard]) -> u32`.
#[macro_export]
macro_rules! export_shard_picker {
    ($config:ty, $decide:path) => {
        $crate::__export_policy!(
            $config,
            shard_picker,
            fn pick(request, measured, shards: Vec<$crate::shard_picker::Shard>) -> u32 { $decide }
        );
    };
}

/// What the three have in common.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_policy {
    (
        $config:ty,
        $world:ident,
        fn $verb:ident($request:ident, $measured:ident, $subject:ident: $facts:ty) -> $verdict:ty { $decide:path }
    ) => {
        #[allow(unsafe_code, reason = "generated: the canonical ABI passes raw pointers")]
        const _: () = {
            static CONFIGURED: $crate::Configured<$config> = $crate::Configured::new();

            struct Policy;

            impl $crate::$world::Guest for Policy {
                fn configure(config: String) -> Result<Vec<$crate::Measure>, String> {
                    CONFIGURED.configure(&config)
                }

                fn $verb($request: $crate::Request, $measured: Vec<$crate::Measured>, $subject: $facts) -> $verdict {
                    $decide(CONFIGURED.get(), &$request, &$measured, &$subject)
                }
            }

    $crate::$world::export!(Policy with_types_in $crate::$world);
        };
    };
}
