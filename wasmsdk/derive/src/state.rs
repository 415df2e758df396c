//! `#[derive(State)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::{Data, DataEnum, DeriveInput, Error, Fields, FieldsNamed, Ident, LitInt, Result};

const NAMED: &str = "a state is a struct with named fields, or an enum without data";

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &input.generics,
            "a state has no type parameters; write the types out",
        ));
    }
    let version = version(input)?;
    let name = &input.ident;
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => structure(name, fields, version),
            Fields::Unit | Fields::Unnamed(_) => Err(Error::new_spanned(name, NAMED)),
        },
        Data::Enum(_) if version.is_some() => Err(Error::new_spanned(
            name,
            "the version belongs to the struct that is the whole state",
        )),
        Data::Enum(data) => enumeration(name, data),
        Data::Union(_) => Err(Error::new_spanned(name, NAMED)),
    }
}

fn version(input: &DeriveInput) -> Result<Option<u32>> {
    let mut version = None;
    for attribute in &input.attrs {
        if attribute.path().is_ident("state") {
            attribute.parse_nested_meta(|meta| {
                if !meta.path.is_ident("version") {
                    return Err(meta.error("known is version: #[state(version = 2)]"));
                }
                let number: LitInt = meta.value()?.parse()?;
                version = match number.base10_parse::<u32>() {
                    Ok(number @ 1..) => Some(number),
                    _ => return Err(Error::new_spanned(&number, "a version is a whole number from 1")),
                };
                Ok(())
            })?;
        }
    }
    Ok(version)
}

fn structure(name: &Ident, fields: &FieldsNamed, version: Option<u32>) -> Result<TokenStream> {
    let idents: Vec<&Ident> = fields
        .named
        .iter()
        .filter_map(|field| field.ident.as_ref())
        .collect();
    for field in &fields.named {
        if let Some(attribute) = field
            .attrs
            .iter()
            .find(|attribute| attribute.path().is_ident("state"))
        {
            return Err(Error::new_spanned(
                attribute,
                "#[state(…)] stands above the struct, not on a field",
            ));
        }
    }
    let names: Vec<String> = idents.iter().map(|ident| ident.unraw().to_string()).collect();
    let types = fields.named.iter().map(|field| &field.ty);
    let count = idents.len();
    let text = name.to_string();
    let version = version.unwrap_or(1);
    Ok(quote! {
        impl ::msup::state::StateValue for #name {
            fn put(
                &self,
                w: &mut ::msup::state::StateWriter,
            ) -> ::core::result::Result<(), ::msup::error::EncodeError> {
                w.map(#count, |w| {
                    let _ = &w;
                    #(w.field(#names, &self.#idents)?;)*
                    ::core::result::Result::Ok(())
                })
            }

            fn take(
                r: &mut ::msup::state::StateReader<'_>,
            ) -> ::core::result::Result<Self, ::msup::error::DecodeError> {
                let mut this = <Self as ::core::default::Default>::default();
                r.fields(|r, name| {
                    let _ = &r;
                    match name {
                        #(#names => this.#idents = <#types as ::msup::state::StateValue>::take(r)?,)*
                        _ => return ::core::result::Result::Ok(false),
                    }
                    #[allow(unreachable_code)]
                    ::core::result::Result::Ok(true)
                })?;
                let _ = &mut this;
                ::core::result::Result::Ok(this)
            }
        }

        impl ::msup::state::State for #name {
            const VERSION: u32 = #version;

            fn save_state(&self, bytes: &mut ::std::vec::Vec<u8>) -> ::msup::fault::Result {
                ::msup::state::save(#text, self, bytes)
            }

            fn load_state(bytes: &[u8]) -> ::msup::fault::Result<Self> {
                ::msup::state::load(#text, bytes)
            }
        }
    })
}

fn enumeration(name: &Ident, data: &DataEnum) -> Result<TokenStream> {
    if let Some(variant) = data
        .variants
        .iter()
        .find(|variant| !matches!(variant.fields, Fields::Unit))
    {
        return Err(Error::new_spanned(
            variant,
            "an enum in a state has no data; keep the data in fields of the struct beside it",
        ));
    }
    if data.variants.is_empty() {
        return Err(Error::new_spanned(
            name,
            "an enum without variants has no value to keep",
        ));
    }
    let idents: Vec<&Ident> = data.variants.iter().map(|variant| &variant.ident).collect();
    let names: Vec<String> = idents.iter().map(|ident| ident.unraw().to_string()).collect();
    let text = name.to_string();
    Ok(quote! {
        impl ::msup::state::StateValue for #name {
            fn put(
                &self,
                w: &mut ::msup::state::StateWriter,
            ) -> ::core::result::Result<(), ::msup::error::EncodeError> {
                w.text(match self {
                    #(Self::#idents => #names,)*
                })
            }

            fn take(
                r: &mut ::msup::state::StateReader<'_>,
            ) -> ::core::result::Result<Self, ::msup::error::DecodeError> {
                let name = r.text()?;
                match name.as_str() {
                    #(#names => ::core::result::Result::Ok(Self::#idents),)*
                    other => r.refuse(::std::format!("there is no {} {other:?}", #text)),
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::expand;

    // Proves: ST-1, AD-1
    #[test]
    fn nonsense_names_its_remedy() {
        for (item, remedy) in [
            ("struct State(i64);", "a struct with named fields"),
            ("struct State;", "a struct with named fields"),
            ("union State { a: i64 }", "a struct with named fields"),
            ("enum State { A(i64) }", "keep the data in fields"),
            ("enum State { }", "without variants"),
            (
                "#[state(version = 2)] enum State { A }",
                "the version belongs to the struct",
            ),
            (
                "#[state(version = 0)] struct State { n: i64 }",
                "a whole number from 1",
            ),
            ("#[state(name = 1)] struct State { n: i64 }", "known is version"),
            (
                "struct State { #[state(version = 1)] n: i64 }",
                "stands above the struct",
            ),
            ("struct State<T> { n: T }", "write the types out"),
        ] {
            let found = expand(&syn::parse_str(item).expect(item))
                .expect_err(item)
                .to_string();
            assert!(found.contains(remedy), "{item}: {found}");
        }
    }
}
