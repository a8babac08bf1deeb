/**
 * The state that a host gives: the arena, the bank and the ballast, as bytes. The same bytes as
 * `peer-client/examples/arena/stored.rs`.
 */

import { Ballast } from "./ballast.js";
import { Bank } from "./bank.js";
import { Malformed, Reader, Writer } from "./pack.js";
import { World } from "./world.js";

/** Bytes of a state that are not ballast. */
const ROOM_BYTES = 2048;

/** What only the host has beside the arena itself. */
export class Vault {
  /** `stateBytes`: bytes of the whole state, at least; what is missing is filled up with zeros. */
  private constructor(
    public readonly bank: Bank,
    public readonly ballast: Ballast,
    private readonly stateBytes: number,
  ) {}

  /** Of a new arena, whose states have so many bytes. */
  public static make(seed: bigint, stateBytes: number): Vault {
    return new Vault(new Bank(), Ballast.make(seed, Math.max(0, stateBytes - ROOM_BYTES)), stateBytes);
  }

  /** The state with this arena, as bytes. The ballast comes first: it has the same place in every state. */
  public encode(world: Uint8Array): Uint8Array {
    const to = new Writer();
    to.array(4);
    to.uint(this.stateBytes);
    this.ballast.write(to);
    to.bin(world);
    this.bank.write(to);
    const written = to.finish();
    if (written.length >= this.stateBytes) {
      return written;
    }
    const bytes = new Uint8Array(this.stateBytes);
    bytes.set(written);
    return bytes;
  }

  /** Reads what {@link Vault.encode} wrote. Throws {@link Malformed} if it is no state, or not what was given. */
  public static decode(bytes: Uint8Array): { vault: Vault; world: World } {
    const from = new Reader(bytes);
    from.struct(4);
    // What a state claims to be is not more than it is.
    const claimed = from.ulong();
    const stateBytes = claimed > BigInt(bytes.length) ? bytes.length : Number(claimed);
    const [ballast, world, bank] = [Ballast.read(from), from.bin(), Bank.read(from)];
    if (!ballast.isWhole()) {
      throw new Malformed("the state's ballast is not what was given");
    }
    return { vault: new Vault(bank, ballast, stateBytes), world: World.decode(world) };
  }
}
