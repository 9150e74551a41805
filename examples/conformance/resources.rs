//! Resources of each kind.

use ringmesh::{Blob, Builder, Call, Resource, ResourceContents, Template, Variables};
use serde_json::json;

use crate::content::PNG;

const TEXT: &str = "This is the content of the static text resource.";

pub(crate) fn add(builder: Builder) -> Builder {
    let binary = ResourceContents::blob("test://static-binary", Blob::base64(PNG));
    builder
        .resource(
            Resource::new("test://static-text", "static-text")
                .description("Text that never changes")
                .mime_type("text/plain")
                .contents([ResourceContents::text("test://static-text", TEXT)]),
        )
        .resource(
            Resource::new("test://static-binary", "static-binary")
                .description("A picture that never changes")
                .mime_type("image/png")
                .contents([binary]),
        )
        .resource(
            Resource::new("test://watched-resource", "watched-resource")
                .description("A resource to subscribe to")
                .mime_type("text/plain")
                .inline(|_: &Call<'_>| "Watched resource content."),
        )
        .template(
            Template::new("test://template/{id}/data", "template")
                .description("Data by id")
                .mime_type("application/json")
                .inline(|variables: Variables, _: &Call<'_>| {
                    let id = variables.text("id");
                    let data = format!("Data for ID: {id}");
                    json!({"id": id, "templateTest": true, "data": data}).to_string()
                }),
        )
}
