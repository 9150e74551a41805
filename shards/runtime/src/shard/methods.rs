//! What is asked, whatever era and transport asked it: lists, tools, prompts, resources and
//! completions.

use std::sync::Arc;

use ringmesh_proto::http1::Status;
use ringmesh_proto::jsonrpc::{self, INVALID_PARAMS, METHOD_NOT_FOUND};
use ringmesh_proto::mcp::{Params, RESOURCE_NOT_FOUND};
use serde_json::value::RawValue;

use super::Shard;
use super::calls::Target;
use super::modern::check_param_headers;
use super::request::{Refusal, Request};
use crate::call::Era;
use crate::catalog::{Handler, List, NAME_BYTES_MAX};
use crate::probe::Method;

impl Shard {
    /// Handles what both eras have. What only one has was taken before.
    pub(super) fn on_method(&mut self, request: &Request<'_>) -> Result<(), Refusal> {
        match request.method {
            Method::ToolsList => self.on_list(request, List::Tools),
            Method::ResourcesList => self.on_list(request, List::Resources),
            Method::ResourceTemplatesList => self.on_list(request, List::Templates),
            Method::PromptsList => self.on_list(request, List::Prompts),
            Method::ToolsCall => self.on_tool(request),
            Method::PromptsGet => self.on_prompt(request),
            Method::ResourcesRead => self.on_read(request),
            Method::CompletionComplete => self.on_complete(request),
            _ => Err(unknown_method()),
        }
    }

    /// Looks up the handler of a call again, which a catalog that came since may have no more.
    pub(super) fn handler_of(
        &self,
        method: Method,
        name: &str,
    ) -> Option<(Handler, &'static str, u64)> {
        let catalog = &self.catalog;
        match method {
            Method::ToolsCall => {
                catalog.tool(name).map(|entry| (entry.handler.clone(), "tool", entry.serial))
            }
            Method::PromptsGet => {
                catalog.prompt(name).map(|entry| (entry.handler.clone(), "prompt", entry.serial))
            }
            Method::ResourcesRead => catalog
                .resource(name)
                .map(|entry| (entry.handler.clone(), "resource", entry.serial))
                .or_else(|| {
                    let entry = catalog.template(name)?;
                    Some((entry.handler.clone(), "resource", entry.serial))
                }),
            _ => None,
        }
    }

    fn on_list(&mut self, request: &Request<'_>, list: List) -> Result<(), Refusal> {
        let catalog = Arc::clone(&self.catalog);
        if !catalog.offers(list) {
            return Err(unknown_method());
        }
        let cursor = request.params.cursor.as_ref().map(|cursor| cursor.as_str());
        let page = if request.era.is_legacy() {
            catalog.legacy_page(list, cursor)
        } else {
            catalog.page(list, cursor)
        };
        let members =
            page.ok_or_else(|| Refusal::invalid_params("the cursor is not one of this list"))?;
        self.reply_members(request, members);
        Ok(())
    }

    fn on_tool(&mut self, request: &Request<'_>) -> Result<(), Refusal> {
        let name = required(request.params.name.as_ref(), "name")?;
        let Some(tool) = self.catalog.tool(name).cloned() else {
            return Err(Refusal::invalid_params(format!("unknown tool: {name}")));
        };
        check_arguments(request.params)?;
        if let Some(head) = request.head
            && !tool.param_headers.is_empty()
        {
            check_param_headers(head, &tool.param_headers, request.params)?;
        }
        let target = Target { what: "tool", name, serial: tool.serial };
        self.call(request, &target, &tool.handler)
    }

    fn on_prompt(&mut self, request: &Request<'_>) -> Result<(), Refusal> {
        let name = required(request.params.name.as_ref(), "name")?;
        let Some(prompt) = self.catalog.prompt(name).cloned() else {
            return Err(Refusal::invalid_params(format!("unknown prompt: {name}")));
        };
        check_arguments(request.params)?;
        if !prompt.required.is_empty() {
            let given: serde_json::Value = serde_json::from_str(arguments(request.params))
                .map_err(|error| Refusal::invalid_params(error.to_string()))?;
            let missing = prompt.required.iter().find(|argument| given.get(argument).is_none());
            if let Some(argument) = missing {
                return Err(Refusal::invalid_params(format!("missing argument: {argument}")));
            }
        }
        let target = Target { what: "prompt", name, serial: prompt.serial };
        self.call(request, &target, &prompt.handler)
    }

    fn on_read(&mut self, request: &Request<'_>) -> Result<(), Refusal> {
        let uri = required(request.params.uri.as_ref(), "uri")?;
        if uri.len() > NAME_BYTES_MAX {
            return Err(Refusal::invalid_params("uri is too long"));
        }
        let (handler, serial) = if let Some(resource) = self.catalog.resource(uri) {
            (resource.handler.clone(), resource.serial)
        } else if let Some(template) = self.catalog.template(uri) {
            (template.handler.clone(), template.serial)
        } else {
            return Err(resource_not_found(request.era, uri));
        };
        let target = Target { what: "resource", name: uri, serial };
        self.call(request, &target, &handler)
    }

    fn on_complete(&mut self, request: &Request<'_>) -> Result<(), Refusal> {
        if !self.catalog.completes() {
            return Err(unknown_method());
        }
        let params = request.params;
        let reference =
            params.reference.as_ref().ok_or_else(|| Refusal::invalid_params("ref is missing"))?;
        let argument = params
            .argument
            .as_ref()
            .ok_or_else(|| Refusal::invalid_params("argument is missing"))?;
        let argument = argument.name.as_str();
        let unknown = |what: &str| Refusal::invalid_params(format!("unknown {what}"));
        let (completer, name, serial) = match reference.kind.as_str() {
            "ref/prompt" => {
                let name = required(reference.name.as_ref(), "ref.name")?;
                let prompt = self.catalog.prompt(name).ok_or_else(|| unknown("prompt"))?;
                if !prompt.arguments.iter().any(|known| known == argument) {
                    return Err(unknown("argument"));
                }
                (prompt.completer.clone(), name, prompt.serial)
            }
            "ref/resource" => {
                let uri = required(reference.uri.as_ref(), "ref.uri")?;
                let template =
                    self.catalog.template_by_text(uri).ok_or_else(|| unknown("template"))?;
                if !template.uri.has(argument) {
                    return Err(unknown("argument"));
                }
                (template.completer.clone(), uri, template.serial)
            }
            _ => return Err(unknown("ref.type")),
        };
        let Some(completer) = completer else {
            let nothing = "\"completion\":{\"values\":[],\"total\":0,\"hasMore\":false}";
            self.reply_members(request, nothing);
            return Ok(());
        };
        let target = Target { what: "completion", name, serial };
        self.call(request, &target, &completer)
    }
}

/// The method with a wire name.
pub(super) fn method_of(name: &str) -> Method {
    Method::ALL.iter().copied().find(|method| method.label() == name).unwrap_or(Method::Other)
}

pub(super) fn unknown_method() -> Refusal {
    Refusal::new(Status::NOT_FOUND, METHOD_NOT_FOUND, "method not found")
}

/// Versions tell it by different codes.
fn resource_not_found(era: Era, uri: &str) -> Refusal {
    let code = if era.is_legacy() { RESOURCE_NOT_FOUND } else { INVALID_PARAMS };
    let data = format!("{{\"uri\":{}}}", serde_json::Value::from(uri));
    Refusal::new(Status::BAD_REQUEST, code, "resource not found").with_data(data)
}

fn required<'a>(value: Option<&'a jsonrpc::Text<'a>>, what: &str) -> Result<&'a str, Refusal> {
    value.map(jsonrpc::Text::as_str).ok_or_else(|| {
        Refusal::new(Status::BAD_REQUEST, INVALID_PARAMS, format!("{what} is missing"))
    })
}

pub(super) fn arguments<'a>(params: &Params<'a>) -> &'a str {
    params.arguments.map_or("{}", RawValue::get)
}

/// Arguments are an object or absent.
fn check_arguments(params: &Params<'_>) -> Result<(), Refusal> {
    if arguments(params).starts_with('{') {
        return Ok(());
    }
    Err(Refusal::invalid_params("arguments must be an object"))
}
