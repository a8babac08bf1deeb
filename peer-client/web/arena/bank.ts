/**
 * Operations that must have their effect once, whoever hosts. Each guest's process numbers its own; the host's state counts what is
 * missing and what came twice, and says a receipt for each, which guests count likewise.
 */

import { Reader, U64_MAX, Writer } from "./pack.js";
import { sorted } from "./world.js";

/** Reliable messages that a guest remembers, to know where it was before the newest of them: more than hosts keep. */
const HEARD_MAX = 16 * 1024;
const U32_MAX = 0xffff_ffff;

/** One player's account, as the host keeps it. */
export interface Account {
  /** The process that numbers the operations: another one begins anew. */
  process: bigint;
  /** The number of its newest operation. */
  newest: bigint;
  /** Its operations that had their effect. */
  done: bigint;
  /** How many of them were receipted. */
  receipted: bigint;
}

/** All accounts: a part of the state. */
export class Bank {
  /** By connection id. */
  public readonly accounts = new Map<number, Account>();
  /** Operations that had their effect, of all players there ever were. */
  public banked = 0n;
  /** Numbers that were left out. */
  public lost = 0n;
  /** Numbers that came again. */
  public twice = 0n;

  /** An operation of a player's process has its effect. */
  public take(connection: number, process: bigint, number: bigint): void {
    let account = this.accounts.get(connection);
    if (account === undefined || account.process !== process) {
      account = { process, newest: 0n, done: 0n, receipted: 0n };
      this.accounts.set(connection, account);
    }
    if (number <= account.newest) {
      this.twice = saturated(this.twice + 1n);
      return;
    }
    this.lost = saturated(this.lost + number - account.newest - 1n);
    this.banked = saturated(this.banked + 1n);
    account.newest = number;
    account.done = saturated(account.done + 1n);
  }

  /** Forgets the accounts of players who left for good. */
  public keep(stays: (connection: number) => boolean): void {
    for (const connection of [...this.accounts.keys()]) {
      if (!stays(connection)) {
        this.accounts.delete(connection);
      }
    }
  }

  /** Says the receipts that are due. Those that cannot be said now (`say` returns false) stay due. */
  public sayReceipts(say: (connection: number, process: bigint, number: bigint) => boolean): void {
    for (const [connection, account] of sorted(this.accounts)) {
      while (account.receipted < account.done && say(connection, account.process, account.receipted + 1n)) {
        account.receipted += 1n;
      }
    }
  }

  /** As a part of a state. */
  public write(to: Writer): void {
    to.array(4);
    to.map(this.accounts.size);
    for (const [connection, account] of sorted(this.accounts)) {
      to.uint(connection);
      to.array(4);
      [account.process, account.newest, account.done, account.receipted].forEach((number) => to.uint(number));
    }
    [this.banked, this.lost, this.twice].forEach((number) => to.uint(number));
  }

  /** Reads what {@link Bank.write} wrote. */
  public static read(from: Reader): Bank {
    const bank = new Bank();
    from.struct(4);
    for (let left = from.map(); left > 0; left -= 1) {
      const connection = from.uint(U32_MAX);
      from.struct(4);
      const [process, newest, done, receipted] = [from.ulong(), from.ulong(), from.ulong(), from.ulong()];
      bank.accounts.set(connection, { process, newest, done, receipted });
    }
    [bank.banked, bank.lost, bank.twice] = [from.ulong(), from.ulong(), from.ulong()];
    return bank;
  }
}

/** What a guest's process keeps of its operations and receipts. */
export class Customer {
  /** The number of the newest operation. */
  public said = 0n;
  /** The number of the newest receipt; `undefined`: what it should be is not known, any may come. */
  public newest: bigint | undefined = 0n;
  /** Receipts that were left out. */
  public lost = 0n;
  /** Receipts that came again. */
  public twice = 0n;
  /** For each of the last reliable messages of hosts: the newest receipt before it. */
  private readonly heard: (bigint | undefined)[] = [];

  /** Of a process that has said nothing yet; `process` is a random number of 64 bits, not 0. */
  public constructor(public readonly process: bigint) {}

  /** Any reliable message of a host has come. */
  public hear(): void {
    if (this.heard.length === HEARD_MAX) {
      this.heard.shift();
    }
    this.heard.push(this.newest);
  }

  /** A receipt has come. False: it is of another process. */
  public take(process: bigint, number: bigint): boolean {
    if (process !== this.process) {
      return false;
    }
    const expected = this.newest === undefined ? number : this.newest + 1n;
    if (number < expected) {
      this.twice += 1n;
    } else {
      this.lost += number - expected;
      this.newest = number;
    }
    return true;
  }

  /** So many of the last reliable messages do not count any more; `undefined`: nobody knows how many. */
  public takeBack(messages: number | undefined): void {
    if (messages === undefined || messages > this.heard.length) {
      this.forget();
      return;
    }
    const back = this.heard.splice(this.heard.length - messages);
    if (back.length > 0) {
      this.newest = back[0];
    }
  }

  /** What the next receipt should be is not known any more. */
  public forget(): void {
    this.heard.length = 0;
    this.newest = undefined;
  }
}

function saturated(number: bigint): bigint {
  return number > U64_MAX ? U64_MAX : number;
}
