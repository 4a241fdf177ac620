//! Names of properties, what a query asks for, and restrictions.

use super::value::{choice, record, words};

record! {
    /// A property by name: `message:InternetMessageId`.
    pub struct FieldUri {
        /// Its name.
        uri: String = "@FieldURI",
    }
}

record! {
    /// One entry of a property that has several: a header by name.
    pub struct IndexedFieldUri {
        /// Name of the property: `item:InternetMessageHeader`.
        uri: String = "@FieldURI",
        /// Name of the entry: `X-Postroom-Id`.
        index: String = "@FieldIndex",
    }
}

record! {
    /// A property of the store that has no name of its own in EWS.
    #[derive(Default)]
    pub struct ExtendedFieldUri {
        /// A well-known set: `InternetHeaders`, `PublicStrings`, ...
        distinguished_set: Option<String> = "@DistinguishedPropertySetId",
        /// A set by GUID.
        set: Option<String> = "@PropertySetId",
        /// A tag: `0x007D`.
        tag: Option<String> = "@PropertyTag",
        /// Name in the set.
        name: Option<String> = "@PropertyName",
        /// Number in the set.
        id: Option<i32> = "@PropertyId",
        /// Type: `String`, `Integer`, ...
        kind: String = "@PropertyType",
    }
}

impl ExtendedFieldUri {
    /// A header of the message, by name.
    pub fn header(name: &str) -> Self {
        Self {
            distinguished_set: Some("InternetHeaders".to_owned()),
            name: Some(name.to_owned()),
            kind: "String".to_owned(),
            ..Self::default()
        }
    }
}

choice! {
    /// A property.
    pub enum Path {
        /// By name.
        Field(FieldUri) = "t:FieldURI",
        /// One entry of several.
        Indexed(IndexedFieldUri) = "t:IndexedFieldURI",
        /// Of the store.
        Extended(ExtendedFieldUri) = "t:ExtendedFieldURI",
    }
}

impl Path {
    /// A property by name.
    pub fn field(uri: &str) -> Self {
        Self::Field(FieldUri { uri: uri.to_owned() })
    }

    /// A header of the message, by name.
    pub fn header(name: &str) -> Self {
        Self::Extended(ExtendedFieldUri::header(name))
    }
}

words! {
    /// How much is given of itself.
    pub enum BaseShape {
        /// Nothing but the id.
        IdOnly,
        /// What Exchange thinks fit.
        Default,
        /// Everything it has.
        AllProperties,
        /// Fields of a person's details.
        PcxPeopleSearch,
    }
}

record! {
    /// What is asked of items.
    pub struct ItemShape {
        /// The base.
        base: BaseShape = "t:BaseShape",
        /// Whether the message itself is wanted, as MIME. Some clients name `item:MimeContent` below instead.
        include_mime_content: Option<bool> = "t:IncludeMimeContent",
        /// `Best`, `HTML` or `Text`.
        body_type: Option<String> = "t:BodyType",
        /// Further properties.
        additional: Vec<Path> = "t:AdditionalProperties/*",
    }
}

impl ItemShape {
    /// The id and these.
    pub fn id_and(additional: Vec<Path>) -> Self {
        Self { base: BaseShape::IdOnly, include_mime_content: None, body_type: None, additional }
    }
}

record! {
    /// What is asked of folders.
    pub struct FolderShape {
        /// The base.
        base: BaseShape = "t:BaseShape",
        /// Further properties.
        additional: Vec<Path> = "t:AdditionalProperties/*",
    }
}

record! {
    /// A page of a list.
    pub struct PageView {
        /// At most so many.
        max: Option<u32> = "@MaxEntriesReturned",
        /// How many are passed over.
        offset: u32 = "@Offset",
        /// From where it is counted.
        base_point: BasePoint = "@BasePoint",
    }
}

impl PageView {
    /// The first `max`.
    pub fn first(max: u32) -> Self {
        Self { max: Some(max), offset: 0, base_point: BasePoint::Beginning }
    }
}

words! {
    /// From where a page is counted.
    pub enum BasePoint {
        /// The first one.
        Beginning,
        /// The last one.
        End,
    }
}

words! {
    /// Where is looked.
    pub enum Traversal {
        /// The folder itself.
        Shallow,
        /// The folder and all below; for folders only.
        Deep,
        /// What was deleted softly.
        SoftDeleted,
        /// Hidden items.
        Associated,
    }
}

words! {
    /// A direction.
    pub enum Order {
        /// Smallest first.
        Ascending,
        /// Largest first.
        Descending,
    }
}

record! {
    /// By what a list is sorted.
    pub struct FieldOrder {
        /// The direction.
        order: Order = "@Order",
        /// The property.
        path: Path = "*",
    }
}

record! {
    /// A fixed value.
    pub struct Constant {
        /// The value as text.
        value: String = "@Value",
    }
}

choice! {
    /// What a property is compared with.
    pub enum Operand {
        /// A fixed value.
        Constant(Constant) = "t:Constant",
        /// Another property.
        Field(FieldUri) = "t:FieldURI",
        /// Another property, one entry of several.
        Indexed(IndexedFieldUri) = "t:IndexedFieldURI",
        /// Another property of the store.
        Extended(ExtendedFieldUri) = "t:ExtendedFieldURI",
    }
}

record! {
    /// A comparison.
    pub struct Comparison {
        /// The property.
        path: Path = "*",
        /// What it is compared with.
        operand: Operand = "t:FieldURIOrConstant",
    }
}

impl Comparison {
    /// A property and a fixed value.
    pub fn with(path: Path, value: impl Into<String>) -> Self {
        Self { path, operand: Operand::Constant(Constant { value: value.into() }) }
    }
}

record! {
    /// A search in a text.
    pub struct Contains {
        /// `FullString`, `Prefixed`, `Substring`, `PrefixOnWords` or `ExactPhrase`.
        mode: Option<String> = "@ContainmentMode",
        /// `Exact`, `IgnoreCase`, ...
        comparison: Option<String> = "@ContainmentComparison",
        /// The property.
        path: Path = "*",
        /// The text.
        constant: Constant = "t:Constant",
    }
}

record! {
    /// Whether a property is there.
    pub struct Exists {
        /// The property.
        path: Path = "*",
    }
}

record! {
    /// Several restrictions.
    pub struct Group {
        /// The restrictions.
        terms: Vec<Restriction> = "/*",
    }
}

choice! {
    /// Which items or folders are meant.
    pub enum Restriction {
        /// Equal.
        Equal(Comparison) = "t:IsEqualTo",
        /// Not equal.
        NotEqual(Comparison) = "t:IsNotEqualTo",
        /// Greater.
        Greater(Comparison) = "t:IsGreaterThan",
        /// Greater or equal.
        GreaterOrEqual(Comparison) = "t:IsGreaterThanOrEqualTo",
        /// Less.
        Less(Comparison) = "t:IsLessThan",
        /// Less or equal.
        LessOrEqual(Comparison) = "t:IsLessThanOrEqualTo",
        /// A text holds another.
        Contains(Contains) = "t:Contains",
        /// A property is there.
        Exists(Exists) = "t:Exists",
        /// All of them.
        And(Group) = "t:And",
        /// One of them.
        Or(Group) = "t:Or",
        /// None of them.
        Not(Group) = "t:Not",
    }
}
