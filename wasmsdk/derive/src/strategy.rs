//! `#[strategy]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ImplItem, ItemImpl, Result, parse_quote};

/// Callbacks that the handshake announces when a strategy has them, in this order.
const OPTIONAL_HOOKS: [&str; 4] = ["on_recovered", "on_config", "on_healthcheck", "migrate"];

const PLACE: &str = "#[msup::strategy] stands above `impl msup::Strategy for …`";

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(
            arguments,
            "#[msup::strategy] takes no arguments",
        ));
    }
    let place = item.clone();
    let mut item: ItemImpl = syn::parse2(item).map_err(|_| Error::new_spanned(place, PLACE))?;
    let is_strategy = item
        .trait_
        .as_ref()
        .and_then(|implemented| implemented.0.segments.last())
        .is_some_and(|last| last.ident == "Strategy");
    if !is_strategy {
        return Err(Error::new_spanned(&item.self_ty, PLACE));
    }
    let has = |item: &ItemImpl, wanted: &str| {
        item.items.iter().any(|one| match one {
            ImplItem::Fn(function) => function.sig.ident == wanted,
            ImplItem::Type(alias) => alias.ident == wanted,
            ImplItem::Const(constant) => constant.ident == wanted,
            _ => false,
        })
    };
    for one in &item.items {
        if let ImplItem::Fn(function) = one {
            if let Some(word) = &function.sig.asyncness {
                return Err(Error::new_spanned(
                    word,
                    "a callback is a plain function: what takes long goes to ctx.submit_compute",
                ));
            }
        }
    }
    if has(&item, "HOOKS") {
        return Err(Error::new_spanned(
            &item.self_ty,
            "leave HOOKS out: #[msup::strategy] writes it",
        ));
    }
    let hooks = OPTIONAL_HOOKS.iter().filter(|hook| has(&item, hook));
    let mut added: Vec<ImplItem> = vec![parse_quote! {
        const HOOKS: &'static [&'static str] = &[#(#hooks),*];
    }];
    let (configured, stateful) = (has(&item, "Config"), has(&item, "State"));
    if !configured {
        added.push(parse_quote!(
            type Config = ::msup::config::NoConfig;
        ));
    }
    if !stateful {
        added.push(parse_quote!(
            type State = ::msup::state::NoState;
        ));
    }
    if !has(&item, "state") {
        added.push(match stateful {
            true => parse_quote!(
                fn state(&self) -> &Self::State {
                    &self.state
                }
            ),
            false => parse_quote!(
                fn state(&self) -> &Self::State {
                    &::msup::state::NoState
                }
            ),
        });
    }
    if !has(&item, "set_config") {
        added.push(match configured {
            true => parse_quote!(
                fn set_config(&mut self, config: Self::Config) {
                    self.config = config;
                }
            ),
            false => parse_quote!(
                fn set_config(&mut self, _: Self::Config) {}
            ),
        });
    }
    if !has(&item, "on_init") {
        let config: Option<TokenStream> = configured.then(|| quote!(config,));
        let state: Option<TokenStream> = stateful.then(|| quote!(state: restored_state.unwrap_or_default(),));
        added.push(parse_quote! {
            fn on_init(
                _: &mut ::msup::Context,
                config: Self::Config,
                restored_state: ::core::option::Option<Self::State>,
            ) -> ::msup::Result<Self> {
                let _ = (&config, &restored_state);
                ::core::result::Result::Ok(Self { #config #state })
            }
        });
    }
    item.items.extend(added);
    Ok(quote!(#item))
}

#[cfg(test)]
mod tests {
    use super::expand;

    fn expanded(item: &str) -> syn::Result<String> {
        let item = item.parse().expect(item);
        expand(Default::default(), item).map(|tokens| tokens.to_string())
    }

    // Proves: DM-3
    #[test]
    fn hooks_are_those_that_are_written() {
        let made =
            expanded("impl msup::Strategy for S { fn migrate() {} fn on_event() {} fn on_config() {} }");
        let made = made.expect("a strategy");
        assert!(made.contains(r#"& ["on_config" , "migrate"]"#), "{made}");
    }

    // Proves: AD-1
    #[test]
    fn misuse_names_its_remedy() {
        for (item, remedy) in [
            ("impl Other for S {}", "stands above `impl msup::Strategy for …`"),
            ("impl S {}", "stands above `impl msup::Strategy for …`"),
            ("struct S;", "stands above `impl msup::Strategy for …`"),
            (
                "impl Strategy for S { async fn on_event() {} }",
                "a plain function",
            ),
            (
                "impl Strategy for S { const HOOKS: &'static [&'static str] = &[]; }",
                "leave HOOKS out",
            ),
        ] {
            let found = expanded(item).expect_err(item).to_string();
            assert!(found.contains(remedy), "{item}: {found}");
        }
        let found = expand(
            "x".parse().expect("tokens"),
            "impl Strategy for S {}".parse().expect("tokens"),
        );
        assert!(
            found
                .expect_err("arguments")
                .to_string()
                .contains("takes no arguments")
        );
    }
}
