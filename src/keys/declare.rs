//! The declaration of a section's keys.

use serde::{Deserialize, Deserializer};

/// Declares a section of the recipe: a struct with one public field a key.
///
/// ```ignore
/// section! {
///     /// What the section is about.
///     pub struct VqvaeSection, prefix "vqvae." {
///         /// The architecture.
///         preset: TokenizerPreset = Plain, resume Refused;
///         /// Total optimizer steps.
///         steps: usize = 2400, allowed 1..=MOST_STEPS, resume Silent;
///         /// Dimension of a code, D.
///         code_dim: usize,
///             by preset |given| match given.preset() { Resnet => 8, _ => 64 },
///             allowed 1..=16_384, resume Refused;
///         /// Self-attention at the coarsest resolution.
///         attention: bool = false, only preset [Resnet], resume Refused;
///     }
/// }
/// ```
///
/// The doc comment of a key is its text in `docs/recipe.md`. After name and type come, in this order:
///
/// - `= value`, the default, or `by KEY |given| value`, a default that depends on KEY, any other key of the section:
///   `given.key()` is the recipe's value of a key, or else its default. Where KEY is set on the command line, a file's
///   value for this key is ignored.
/// - `only KEY [values]`: it applies only to these values of KEY. For others it has the type's `Default`, and anything
///   else is refused.
/// - `allowed rule`: an [`Allowed`](super::Allowed), such as a range. Without one, all values of the type are.
/// - `resume variant`: an [`OnResume`](super::OnResume).
///
/// Besides the struct this generates `Default`, `Serialize` (every key), `Deserialize` (missing keys are filled in,
/// unknown ones refused), `KEYS` and `check_keys`. Rules between keys remain in a hand-written `validate`. A
/// section may itself have `sections { … }`, fields that are such structs; they are listed as `SECTIONS`.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        pub struct $section:ident, prefix $prefix:literal {
            $(
                $(#[doc = $text:literal])+
                $key:ident: $type:ty
                    $(= $default:expr)?
                    $(, by $filler:ident |$given:pat_param| $filled:expr)?
                    $(, only $of:ident [$($value:expr),+])?
                    $(, allowed $rule:expr)?
                    , resume $resume:ident;
            )+
        }
        $(sections {
            $(
                $(#[doc = $inner_text:literal])+
                $inner:ident: $inner_type:ty;
            )+
        })?
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, serde::Serialize)]
        pub struct $section {
            $( $(#[doc = $text])+ pub $key: $type, )+
            $($( $(#[doc = $inner_text])+ pub $inner: $inner_type, )+)?
        }

        impl $section {
            /// Its keys, in the order of a saved recipe.
            pub const KEYS: &'static [$crate::keys::Key] = &[$(
                $crate::keys::Key {
                    path: concat!($prefix, stringify!($key)),
                    text: concat!($($text),+).trim_ascii(),
                    default: || $crate::keys::json(Self::default().$key),
                    allowed: || $crate::keys::rule_text::<$type>(&[$(&$rule)?]),
                    choices: || $crate::keys::choices::<$type>(),
                    on_resume: $crate::keys::OnResume::$resume,
                    filled_by: [$(stringify!($filler),)?].first().copied(),
                    only: &[$(
                        $crate::keys::Only {
                            key: stringify!($of),
                            values: || $crate::keys::names(&[$($value),+]),
                        }
                    )?],
                },
            )+];

            /// The sections in it, in the order of a saved recipe.
            pub const SECTIONS: &'static [$crate::keys::Section] = &[$($(
                $crate::keys::Section {
                    name: concat!($prefix, stringify!($inner)),
                    text: concat!($($inner_text),+).trim_ascii(),
                    keys: <$inner_type>::KEYS,
                    sections: <$inner_type>::SECTIONS,
                },
            )+)?];

            /// Checks every key by itself; nested sections check their own.
            fn check_keys(&self) -> $crate::error::Result<()> {
                $(
                    $(
                        if ![$($value),+].contains(&self.$of) {
                            $crate::keys::refuse_unless_off(
                                [concat!($prefix, stringify!($key)), concat!($prefix, stringify!($of))],
                                &self.$key,
                                &$crate::keys::names(&[$($value),+]),
                            )?;
                        } else
                    )?
                    {
                        let rules: &[&dyn $crate::keys::Allowed<$type>] = &[$(&$rule)?];
                        for rule in rules {
                            rule.check(concat!($prefix, stringify!($key)), &self.$key)?;
                        }
                    }
                )+
                Ok(())
            }
        }

        // In a block of its own, so that the name `Given` does not leak.
        const _: () = {
            /// The section's values that a recipe sets.
            #[derive(Default, serde::Deserialize)]
            #[serde(default, deny_unknown_fields)]
            struct Given {
                $( #[serde(deserialize_with = "crate::keys::given")] $key: Option<$type>, )+
                $($( $inner: $inner_type, )+)?
            }

            impl Given {
                $(
                    fn $key(&self) -> $type {
                        if let Some(value) = &self.$key {
                            return Clone::clone(value);
                        }
                        $(
                            if ![$($value),+].contains(&self.$of()) {
                                return Default::default();
                            }
                        )?
                        $( $default )?
                        $({
                            let filled: fn(&Self) -> $type = |$given| $filled;
                            filled(self)
                        })?
                    }
                )+
            }

            impl From<Given> for $section {
                fn from(given: Given) -> Self {
                    Self {
                        $( $key: given.$key(), )+
                        $($( $inner: given.$inner, )+)?
                    }
                }
            }

            impl Default for $section {
                fn default() -> Self {
                    Given::default().into()
                }
            }

            impl<'de> serde::Deserialize<'de> for $section {
                fn deserialize<D: serde::Deserializer<'de>>(values: D) -> Result<Self, D::Error> {
                    Given::deserialize(values).map(Into::into)
                }
            }
        };
    };
}
pub(crate) use section;

/// A value that is present. `Option` by itself would read `null` as absent.
pub(crate) fn given<'de, D, T>(value: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(value).map(Some)
}
