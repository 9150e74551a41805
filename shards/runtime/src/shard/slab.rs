//! A table whose places are reused, each with a generation that tells its users apart.

/// Places of a table, bounded by the caller.
#[derive(Debug)]
pub(super) struct Slab<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    /// What a place takes, used or not.
    pub(super) const PLACE_BYTES: usize = size_of::<(u32, Option<T>)>();

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Puts a value into a free place and names the place and its generation.
    pub(super) fn insert(&mut self, value: T) -> (u32, u32) {
        self.len += 1;
        if let Some(place) = self.free.pop() {
            let (generation, taken) = &mut self.places[place as usize];
            *generation = generation.wrapping_add(1);
            *taken = Some(value);
            return (place, *generation);
        }
        let place = u32::try_from(self.places.len()).expect("a table is bounded below 2^32");
        self.places.push((0, Some(value)));
        (place, 0)
    }

    pub(super) fn get_mut(&mut self, place: u32, generation: u32) -> Option<&mut T> {
        let (known, value) = self.places.get_mut(place as usize)?;
        #[cfg(ringmesh_bugs)]
        if crate::bugs::active(crate::bugs::Bug::StaleGeneration) {
            return value.as_mut();
        }
        if *known == generation { value.as_mut() } else { None }
    }

    /// Looks at a place whoever uses it.
    pub(super) fn at(&self, place: u32) -> Option<(u32, &T)> {
        let (generation, value) = self.places.get(place as usize)?;
        value.as_ref().map(|value| (*generation, value))
    }

    pub(super) fn at_mut(&mut self, place: u32) -> Option<&mut T> {
        self.places.get_mut(place as usize)?.1.as_mut()
    }

    pub(super) fn remove(&mut self, place: u32) -> Option<T> {
        let value = self.places.get_mut(place as usize)?.1.take()?;
        self.free.push(place);
        self.len -= 1;
        Some(value)
    }

    /// Places and generations in use.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u32, &T)> {
        self.places.iter().zip(0_u32..).filter_map(|((generation, value), place)| {
            value.as_ref().map(|value| (place, *generation, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_place_has_another_generation() {
        let mut slab = Slab::default();
        let (place, first) = slab.insert("a");
        assert_eq!(slab.remove(place), Some("a"));
        assert_eq!(slab.remove(place), None);
        let (again, second) = slab.insert("b");
        assert_eq!(again, place);
        assert_ne!(first, second);
        assert!(slab.get_mut(place, first).is_none());
        assert!(slab.get_mut(place, second).is_some());
        assert_eq!(slab.len(), 1);
    }
}
