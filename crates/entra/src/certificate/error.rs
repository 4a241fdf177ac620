//! What can be wrong with a certificate.

/// Why a certificate cannot be used. No variant holds anything of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// More bytes than any certificate needs.
    #[error("cannot read the certificate: it is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Neither a certificate nor anything else in PEM.
    #[error("cannot read the certificate: there is no block BEGIN CERTIFICATE in the text")]
    NoCertificate,
    /// A certificate without a key.
    #[error("cannot read the certificate: its private key is missing")]
    NoKey,
    /// A private key under a password.
    #[error("cannot read the certificate: its private key is encrypted")]
    EncryptedKey,
    /// A key that is none of RSA.
    #[error("cannot use the certificate: its key is {found}, and Microsoft Entra takes RSA only")]
    NotRsa {
        /// `an elliptic curve key`, `not RSA`.
        found: &'static str,
    },
    /// An RSA key that is too short, too long or broken.
    #[error("cannot use the certificate's private key: it is broken, or not of 2048 to 8192 bits")]
    UnusableKey,
    /// Certificate and key do not belong together.
    #[error("cannot use the certificate: the private key beside it belongs to another one")]
    Mismatch,
    /// Something in it is not what it says.
    #[error("cannot read the certificate: {what} is malformed")]
    Malformed {
        /// The part.
        what: &'static str,
    },
    /// The password does not open the PFX file.
    #[error(
        "cannot open the PFX file: wrong password, or made with an encryption that reads the password differently"
    )]
    Password,
    /// The PFX file's encryption is not known here.
    #[error(
        "cannot open the PFX file: it was made with an encryption or a work factor that is not supported here"
    )]
    Encryption,
    /// It could not be made.
    #[error("cannot make a certificate: {what}")]
    Generate {
        /// What hindered it.
        what: &'static str,
    },
    /// The key would not sign.
    #[error("cannot sign with the certificate's private key")]
    Sign,
}

impl CertificateError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } | Self::NoCertificate | Self::Malformed { .. } => {
                "Give a PEM text with the certificate and its private key, or a PFX file."
            }
            Self::NoKey => "Add the block BEGIN PRIVATE KEY to the text, or export a PFX file with the key.",
            Self::EncryptedKey => {
                "Decrypt it first with `openssl pkcs8 -in key.pem -out plain.pem`, or give a PFX file with its password."
            }
            Self::NotRsa { .. } | Self::UnusableKey => {
                "Let Postroom make one, or make an RSA key of 2048 bits or more."
            }
            Self::Mismatch => "Give the key that the certificate was made with.",
            Self::Password => {
                "Type the password again; if it is right, export the file again with AES256-SHA256 or TripleDES-SHA1, or give PEM."
            }
            Self::Encryption => "Export the file again with AES256-SHA256 or TripleDES-SHA1, or give PEM.",
            Self::Generate { .. } | Self::Sign => "Try again; if it stays, report it.",
        }
    }
}
