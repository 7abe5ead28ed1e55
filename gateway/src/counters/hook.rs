//! The hooks of the pipeline, and one value for each of them.

use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A step of the pipeline at which a policy decides. The hooks do not see each other's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    RateShaper,
    UserLimit,
    ShardPicker,
}

impl Hook {
    /// In the order in which a request meets them.
    pub const ALL: [Self; 3] = [Self::RateShaper, Self::UserLimit, Self::ShardPicker];

    /// The word that configuration and metrics use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RateShaper => "rate-shaper",
            Self::UserLimit => "user-limit",
            Self::ShardPicker => "shard-picker",
        }
    }
}

/// One value for each hook. As JSON it is an object whose keys are the names of the hooks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a section")]
pub struct PerHook<T> {
    pub rate_shaper: T,
    pub user_limit: T,
    pub shard_picker: T,
}

impl<T> PerHook<T> {
    pub fn from_fn(mut value_of: impl FnMut(Hook) -> T) -> Self {
        Self {
            rate_shaper: value_of(Hook::RateShaper),
            user_limit: value_of(Hook::UserLimit),
            shard_picker: value_of(Hook::ShardPicker),
        }
    }

    /// Stops at the first hook that has no value.
    ///
    /// # Errors
    /// What `value_of` returned for that hook.
    pub fn try_from_fn<E>(mut value_of: impl FnMut(Hook) -> Result<T, E>) -> Result<Self, E> {
        Ok(Self {
            rate_shaper: value_of(Hook::RateShaper)?,
            user_limit: value_of(Hook::UserLimit)?,
            shard_picker: value_of(Hook::ShardPicker)?,
        })
    }

    pub fn as_ref(&self) -> PerHook<&T> {
        PerHook { rate_shaper: &self.rate_shaper, user_limit: &self.user_limit, shard_picker: &self.shard_picker }
    }

    pub fn map<U>(self, mut convert: impl FnMut(T) -> U) -> PerHook<U> {
        PerHook {
            rate_shaper: convert(self.rate_shaper),
            user_limit: convert(self.user_limit),
            shard_picker: convert(self.shard_picker),
        }
    }

    /// In the order in which a request meets the hooks.
    pub fn iter(&self) -> impl Iterator<Item = (Hook, &T)> {
        Hook::ALL.into_iter().map(|hook| (hook, &self[hook]))
    }
}

impl<T> Index<Hook> for PerHook<T> {
    type Output = T;

    fn index(&self, hook: Hook) -> &T {
        match hook {
            Hook::RateShaper => &self.rate_shaper,
            Hook::UserLimit => &self.user_limit,
            Hook::ShardPicker => &self.shard_picker,
        }
    }
}

impl<T> IndexMut<Hook> for PerHook<T> {
    fn index_mut(&mut self, hook: Hook) -> &mut T {
        match hook {
            Hook::RateShaper => &mut self.rate_shaper,
            Hook::UserLimit => &mut self.user_limit,
            Hook::ShardPicker => &mut self.shard_picker,
        }
    }
}

/// In the order of [`Hook::ALL`].
impl<T> From<[T; 3]> for PerHook<T> {
    fn from([rate_shaper, user_limit, shard_picker]: [T; 3]) -> Self {
        Self { rate_shaper, user_limit, shard_picker }
    }
}

/// In the order of [`Hook::ALL`].
impl<T> From<PerHook<T>> for [T; 3] {
    fn from(values: PerHook<T>) -> Self {
        [values.rate_shaper, values.user_limit, values.shard_picker]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hook_has_the_value_that_was_made_for_it() {
        let names = PerHook::from_fn(Hook::as_str);
        assert_eq!(names, PerHook::from(["rate-shaper", "user-limit", "shard-picker"]));
        assert!(names.iter().all(|(hook, name)| *name == hook.as_str() && names[hook] == *name));
        assert_eq!(names.map(str::len), PerHook { rate_shaper: 11, user_limit: 10, shard_picker: 12 });
    }

    #[test]
    fn changing_one_hook_leaves_the_others_alone() {
        let mut values = PerHook::from([1, 2, 3]);
        values[Hook::UserLimit] = 7;
        assert_eq!(<[i32; 3]>::from(values), [1, 7, 3]);
    }

    #[test]
    fn the_first_hook_without_a_value_is_the_error() {
        let one = |hook| if hook == Hook::RateShaper { Ok(1) } else { Err(hook) };
        assert_eq!(PerHook::try_from_fn(one), Err(Hook::UserLimit));
    }

    #[test]
    fn json_names_the_hooks_and_refuses_an_unknown_one() {
        let json = serde_json::to_string(&PerHook::from([1, 2, 3])).expect("JSON");
        assert_eq!(json, r#"{"rate-shaper":1,"user-limit":2,"shard-picker":3}"#);
        assert_eq!(serde_json::from_str::<PerHook<u8>>(&json).expect("reads back"), PerHook::from([1, 2, 3]));
        let patch: PerHook<Option<u8>> = serde_json::from_str(r#"{"user-limit":2}"#).expect("absent hooks are None");
        assert_eq!(patch, PerHook::from([None, Some(2), None]));
        assert!(serde_json::from_str::<PerHook<Option<u8>>>(r#"{"picker":2}"#).is_err());
    }
}
