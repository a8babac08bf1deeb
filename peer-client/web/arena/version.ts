/** The version of this package, and of the native arena: only equal builds play together. A test holds the three to each other. */
export const VERSION = "0.1.0";
