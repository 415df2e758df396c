//! The macros of msup. Use them through the crate `msup`, which exports them beside the traits of the same names.
//!
//! Every refusal stands at the place of the mistake and names what to write instead.

mod config;
mod literal;
mod state;
mod strategy;

use proc_macro::TokenStream;

fn finish(expanded: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    expanded.unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Makes a struct a configuration; see `msup::config`.
///
/// On a field: `#[config(default = 12, min = 1, max = 500, choices("A", "B"), unit = "bars", apply = "bar", doc = "…")]`, all of
/// it optional. A field without a default is required; bounds are inclusive; `apply` is tick, bar, checkpoint or flat; `doc` is
/// the doc comment unless it is given.
#[proc_macro_derive(Config, attributes(config))]
pub fn config(item: TokenStream) -> TokenStream {
    finish(syn::parse(item).and_then(|input| config::expand(&input)))
}

/// Makes a struct, or an enum without data, a state or a part of one; see `msup::state`.
///
/// On the struct: `#[state(version = 2)]`, from 1; it rises whenever the state changes its meaning.
#[proc_macro_derive(State, attributes(state))]
pub fn state(item: TokenStream) -> TokenStream {
    finish(syn::parse(item).and_then(|input| state::expand(&input)))
}

/// Stands above `impl msup::Strategy for …`: notes which optional callbacks there are, and writes what is left out; see
/// `msup::Strategy`.
#[proc_macro_attribute]
pub fn strategy(arguments: TokenStream, item: TokenStream) -> TokenStream {
    finish(strategy::expand(arguments.into(), item.into()))
}

/// A decimal that is checked when it is compiled: `dec!(0.001)`, `dec!(-5)`, `dec!("1e-8")`.
#[proc_macro]
pub fn dec(input: TokenStream) -> TokenStream {
    finish(syn::parse(input).map(|decimal: literal::Decimal| literal::decimal_tokens(decimal)))
}
