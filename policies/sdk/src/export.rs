//! One macro per world. Each makes a component from a configuration and a function that decides.

/// Exports a rate shaper.
///
/// Takes a [`Configuration`](crate::Configuration) type and a
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

/// Exports a user limit.
///
/// Takes a [`Configuration`](crate::Configuration) type and a
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

/// Exports a shard picker.
///
/// Takes a [`Configuration`](crate::Configuration) type and a
/// `fn(&Config, &Request, &[Measured], &[Shard]) -> u32`, which returns a `shard_no` of the list.
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

/// The code that the three macros share.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_policy {
    (
        $config:ty,
        $world:ident,
        fn $export:ident($request:ident, $measured:ident, $context:ident: $context_type:ty)
            -> $verdict:ty { $decide:path }
    ) => {
        #[allow(unsafe_code, reason = "generated: the canonical ABI passes raw pointers")]
        const _: () = {
            static CONFIG: $crate::ConfigCell<$config> = $crate::ConfigCell::new();

            struct Policy;

            impl $crate::$world::Guest for Policy {
                fn configure(config: String) -> Result<Vec<$crate::Measure>, String> {
                    CONFIG.configure(&config)
                }

                fn $export(
                    $request: $crate::Request,
                    $measured: Vec<$crate::Measured>,
                    $context: $context_type,
                ) -> $verdict {
                    $decide(CONFIG.get(), &$request, &$measured, &$context)
                }
            }

            #[cfg(target_arch = "wasm32")]
    $crate::$world::export!(Policy with_types_in $crate::$world);
            // A native linker refuses the names of the exports, so that a native build only uses the type.
            #[cfg(not(target_arch = "wasm32"))]
            const _: Option<Policy> = None;
        };
    };
}
