/** The key of this process: a certificate that its links prove, and whose fingerprint the lobby names. */

import type { PeerKey } from "./protocol/id.js";

/** A certificate and its fingerprint. */
export interface ProcessKey {
  readonly certificate: RTCCertificate;
  readonly peerKey: PeerKey;
}

/** Makes one, for one session. Its private key never leaves the browser. */
export async function makeProcessKey(): Promise<ProcessKey> {
  const certificate = await RTCPeerConnection.generateCertificate({ name: "ECDSA", namedCurve: "P-256" } as EcKeyGenParams);
  const value = fingerprintOf(certificate) ?? (await describedFingerprint(certificate));
  const peerKey = value.replaceAll(":", "").toLowerCase();
  if (!/^[0-9a-f]{64}$/.test(peerKey)) throw new Error("this browser tells no SHA-256 fingerprint of its certificate");
  return { certificate, peerKey };
}

/** Browsers that do not tell it of the certificate itself say it in each description. */
async function describedFingerprint(certificate: RTCCertificate): Promise<string> {
  const connection = new RTCPeerConnection({ certificates: [certificate] });
  try {
    connection.createDataChannel("");
    const { sdp } = await connection.createOffer();
    return /^a=fingerprint:sha-256 ([0-9A-Fa-f:]+)/m.exec(sdp ?? "")?.[1] ?? "";
  } finally {
    connection.close();
  }
}

function fingerprintOf(certificate: RTCCertificate): string | undefined {
  if (!("getFingerprints" in certificate)) return undefined;
  return certificate.getFingerprints().find(({ algorithm }) => algorithm?.toLowerCase() === "sha-256")?.value;
}
