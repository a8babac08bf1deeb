//! A game's state: entities that move, in a fixed layout and in one whose numbers have any length.

/// Bytes of an entity in the fixed layout.
pub(crate) const ENTITY_BYTES: usize = 47;
/// Steps a second.
const TICKS: f32 = 30.0;

/// Whatever moves: its floats are random, which no compression makes much smaller.
#[derive(Debug, Clone)]
struct Entity {
    number: u32,
    position: [f32; 3],
    velocity: [f32; 3],
    rotation: [f32; 4],
    health: u16,
    flags: u8,
}

/// All entities.
#[derive(Debug, Clone)]
pub(crate) struct World(Vec<Entity>);

impl World {
    pub(crate) fn new(entities: u32, random: &mut fastrand::Rng) -> Self {
        Self((0..entities).map(|number| Entity::new(number, random)).collect())
    }

    /// One step: so many of a hundred move; some of them turn or are hurt.
    pub(crate) fn tick(&mut self, moving_percent: u8, random: &mut fastrand::Rng) {
        for entity in &mut self.0 {
            if random.u8(..100) < moving_percent {
                entity.step(random);
            }
        }
    }

    /// Every value in its own width: [`ENTITY_BYTES`] an entity.
    pub(crate) fn fixed(&self) -> Vec<u8> {
        let mut state = Vec::with_capacity(ENTITY_BYTES * self.0.len());
        for entity in &self.0 {
            state.extend_from_slice(&entity.number.to_le_bytes());
            entity.floats().for_each(|float| state.extend_from_slice(&float.to_le_bytes()));
            state.extend_from_slice(&entity.health.to_le_bytes());
            state.push(entity.flags);
        }
        state
    }

    /// Every value in as many bytes as it needs, floats in thousandths: one that grows shifts all that follow.
    pub(crate) fn variable(&self) -> Vec<u8> {
        let mut state = Vec::new();
        for entity in &self.0 {
            push(&mut state, entity.number);
            entity.floats().map(|float| (float * 1000.0) as i32).for_each(|thousandths| {
                push(&mut state, (thousandths << 1 ^ thousandths >> 31).cast_unsigned());
            });
            push(&mut state, entity.health.into());
            state.push(entity.flags);
        }
        state
    }
}

impl Entity {
    fn new(number: u32, random: &mut fastrand::Rng) -> Self {
        let mut any = |reach: f32| (random.f32() - 0.5) * 2.0 * reach;
        let position = [any(1000.0), any(1000.0), any(100.0)];
        let velocity = [any(10.0), any(10.0), any(10.0)];
        let rotation = [any(1.0), any(1.0), any(1.0), any(1.0)];
        Self { number, position, velocity, rotation, health: random.u16(..1000), flags: random.u8(..8) }
    }

    fn step(&mut self, random: &mut fastrand::Rng) {
        self.position.iter_mut().zip(self.velocity).for_each(|(place, speed)| *place += speed / TICKS);
        if random.u8(..4) == 0 {
            self.rotation[1] += 0.01;
        }
        if random.u8(..4) == 0 {
            self.health = self.health.saturating_sub(random.u16(1..30));
        }
    }

    fn floats(&self) -> impl Iterator<Item = f32> {
        self.position.into_iter().chain(self.velocity).chain(self.rotation)
    }
}

/// Seven bits a byte.
fn push(state: &mut Vec<u8>, number: u32) {
    let mut left = number;
    while left >= 0x80 {
        state.push(left as u8 | 0x80);
        left >>= 7;
    }
    state.push(left as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_changes_a_few_entities_and_the_variable_layout_shifts() {
        let mut random = fastrand::Rng::with_seed(1);
        let before = World::new(1000, &mut random);
        let mut after = before.clone();
        after.tick(5, &mut random);
        let (old, new) = (before.fixed(), after.fixed());
        assert_eq!((old.len(), new.len()), (1000 * ENTITY_BYTES, 1000 * ENTITY_BYTES));
        let moved = old.chunks(ENTITY_BYTES).zip(new.chunks(ENTITY_BYTES)).filter(|(old, new)| old != new).count();
        assert!((20..100).contains(&moved), "{moved}");
        let shifts = (0..20).any(|tick| {
            after.tick(6 + tick, &mut random);
            before.variable().len() != after.variable().len()
        });
        assert!(shifts, "numbers that grow take more room");
    }
}
