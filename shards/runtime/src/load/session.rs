//! Ids of sessions, which servers choose.

use super::calls::NONE;

/// Longest id that is kept in place: those of most servers are UUIDs or no longer than two.
const INLINE_MAX: usize = 62;

/// Longest id that is taken.
pub(super) const SESSION_ID_BYTES_MAX: usize = 4_096;

#[derive(Debug)]
enum Id {
    Inline(u8, [u8; INLINE_MAX]),
    Long(Box<[u8]>),
}

const _: () = assert!(size_of::<Option<Id>>() <= 64);

/// See the module; places are reused.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    places: Vec<Option<Id>>,
    free: Vec<u32>,
}

impl Sessions {
    pub(super) fn insert(&mut self, id: &[u8]) -> u32 {
        let id = if id.len() <= INLINE_MAX {
            let mut bytes = [0; INLINE_MAX];
            bytes[..id.len()].copy_from_slice(id);
            Id::Inline(u8::try_from(id.len()).expect("at most INLINE_MAX"), bytes)
        } else {
            Id::Long(id.into())
        };
        if let Some(place) = self.free.pop() {
            self.places[place as usize] = Some(id);
            return place;
        }
        self.places.push(Some(id));
        u32::try_from(self.places.len() - 1).expect("one for each seat")
    }

    /// The id at a place; `None` for [`NONE`].
    pub(super) fn at(&self, place: u32) -> Option<&[u8]> {
        match self.places.get(place as usize)?.as_ref()? {
            Id::Inline(len, bytes) => Some(&bytes[..usize::from(*len)]),
            Id::Long(bytes) => Some(bytes),
        }
    }

    pub(super) fn remove(&mut self, place: &mut u32) {
        let place = std::mem::replace(place, NONE);
        if let Some(id) = self.places.get_mut(place as usize)
            && id.take().is_some()
        {
            self.free.push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_any_length_are_kept() {
        let mut sessions = Sessions::default();
        let long = [b'x'; 100];
        let (mut one, mut two) = (sessions.insert(b"001-ab"), sessions.insert(&long));
        assert_eq!(sessions.at(one), Some(&b"001-ab"[..]));
        assert_eq!(sessions.at(two), Some(&long[..]));
        sessions.remove(&mut one);
        assert_eq!((one, sessions.at(one)), (NONE, None));
        assert_eq!(sessions.insert(b""), 0);
        sessions.remove(&mut two);
        assert_eq!((sessions.at(0), sessions.at(1)), (Some(&b""[..]), None));
    }
}
