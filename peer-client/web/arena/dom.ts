/** The few things that the page does with elements. */

/** The element of the page with this id, which index.html has. */
export function byId<Kind extends HTMLElement>(id: string, kind: new () => Kind): Kind {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) {
    throw new Error(`index.html has no ${kind.name} #${id}`);
  }
  return found;
}

/** A new element with a class (empty: none) and what is in it. Texts are texts: never markup. */
export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  className: string,
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  if (className !== "") {
    element.className = className;
  }
  element.append(...children);
  return element;
}

/** Fills an element when what it shows has changed, so that nothing moves under a reader's eyes or a screen reader's. */
export class Filled {
  private shown = "";

  /** Of this element. */
  public constructor(public readonly element: HTMLElement) {}

  /** Shows `children()`, if `model` is another one than the last. */
  public show(model: unknown, children: () => (Node | string)[]): void {
    const next = JSON.stringify(model);
    if (next !== this.shown) {
      this.shown = next;
      this.element.replaceChildren(...children());
    }
  }
}
