//! Writing msgpack in its shortest forms (PROTOCOL.md section 1). What no reader would take is refused here, at its cause.

use rmp::encode;

use crate::error::{EncodeError, ErrorClass};

/// Writes msgpack in its shortest forms.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

/// Writing into memory cannot fail: `Vec`'s `Write` has no error.
fn infallible<T, E>(result: Result<T, E>) {
    debug_assert!(result.is_ok(), "writing into a Vec failed");
}

fn len_u32(len: usize) -> Result<u32, EncodeError> {
    u32::try_from(len).map_err(|_| {
        EncodeError::new(
            ErrorClass::TooLong,
            format!("{len} long; msgpack ends at 2^32 - 1"),
        )
    })
}

impl Writer {
    pub(crate) fn with_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn nil(&mut self) {
        infallible(encode::write_nil(&mut self.bytes));
    }

    pub(crate) fn bool(&mut self, value: bool) {
        infallible(encode::write_bool(&mut self.bytes, value));
    }

    pub(crate) fn uint(&mut self, value: u64) {
        infallible(encode::write_uint(&mut self.bytes, value));
    }

    pub(crate) fn sint(&mut self, value: i64) {
        infallible(encode::write_sint(&mut self.bytes, value));
    }

    pub(crate) fn f64(&mut self, value: f64) -> Result<(), EncodeError> {
        if !value.is_finite() {
            return Err(EncodeError::new(
                ErrorClass::Float,
                format!("{value} is not a finite number"),
            ));
        }
        infallible(encode::write_f64(&mut self.bytes, value));
        Ok(())
    }

    /// A float of any value.
    pub(crate) fn any_f64(&mut self, value: f64) {
        infallible(encode::write_f64(&mut self.bytes, value));
    }

    pub(crate) fn array(&mut self, len: usize) -> Result<(), EncodeError> {
        infallible(encode::write_array_len(&mut self.bytes, len_u32(len)?));
        Ok(())
    }

    pub(crate) fn map(&mut self, len: usize) -> Result<(), EncodeError> {
        infallible(encode::write_map_len(&mut self.bytes, len_u32(len)?));
        Ok(())
    }

    pub(crate) fn str(&mut self, value: &str, limit: usize) -> Result<(), EncodeError> {
        self.utf8(value.as_bytes(), limit)
    }

    /// A string whose bytes are known to be UTF-8.
    pub(crate) fn utf8(&mut self, value: &[u8], limit: usize) -> Result<(), EncodeError> {
        Self::bounded(value.len(), limit, ErrorClass::TooLong)?;
        infallible(encode::write_str_len(&mut self.bytes, len_u32(value.len())?));
        self.bytes.extend_from_slice(value);
        Ok(())
    }

    pub(crate) fn bin(&mut self, value: &[u8], limit: usize) -> Result<(), EncodeError> {
        Self::bounded(value.len(), limit, ErrorClass::TooLong)?;
        infallible(encode::write_bin_len(&mut self.bytes, len_u32(value.len())?));
        self.bytes.extend_from_slice(value);
        Ok(())
    }

    pub(crate) fn ext(&mut self, kind: i8, data: &[u8]) -> Result<(), EncodeError> {
        infallible(encode::write_ext_meta(
            &mut self.bytes,
            len_u32(data.len())?,
            kind,
        ));
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    pub(crate) fn checked(wrong: Option<String>) -> Result<(), EncodeError> {
        wrong.map_or(Ok(()), |detail| Err(EncodeError::new(ErrorClass::Range, detail)))
    }

    pub(crate) fn bounded(found: usize, most: usize, class: ErrorClass) -> Result<(), EncodeError> {
        match found > most {
            true => Err(EncodeError::new(
                class,
                format!("{found}; at most {most} are allowed"),
            )),
            false => Ok(()),
        }
    }
}
